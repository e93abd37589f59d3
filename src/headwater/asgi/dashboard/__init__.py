"""The dashboard's side of the hub: what its page is fed by, and what it asks for.

board       samples of the hub's numbers, as a stream of Headwater's own
looking     lists, one stream, one channel
explaining  why somebody gets an event or does not

The page itself is a file in `headwater/web`. All of this is of one process: with several, each has a dashboard of its own.
"""
