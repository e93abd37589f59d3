"""The gallery: every reference application and the hub itself on one port, with a home page. `python -m examples.gallery`."""

from examples.gallery.gallery import app

__all__ = ["app"]
