"""The agents: each does one small piece of real work in a room's folder and says what it does while it does it.

job      what an agent gets
story    writes a ghost story from a word list
asset    draws the house of the story
code     writes a program that walks through the house, and runs it
deploy   packs everything, with checksums
"""
