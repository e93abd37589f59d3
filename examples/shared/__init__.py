"""What the reference applications have in common and Headwater is no part of: a database thread, tokens, pages."""
