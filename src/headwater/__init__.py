"""Headwater: the live-update layer for Python applications."""
