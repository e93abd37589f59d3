"""Reference applications: five contracts that five teams wrote by hand, each in about a page of Headwater."""
