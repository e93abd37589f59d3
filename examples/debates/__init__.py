"""Debates: two sides and a moderator, live; every utterance is kept before anyone hears it."""
