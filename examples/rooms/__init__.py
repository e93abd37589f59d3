"""Rooms: agents build something in a room, and everybody who looks in reads their log as it is written."""
