"""Serve a WSGI application, `module:name`, on a free port: `python -m tests.e2e.wsgi live:app`. Prints its address."""

from __future__ import annotations

import importlib
import sys
from wsgiref.simple_server import make_server

module, _, name = sys.argv[1].partition(":")
with make_server("127.0.0.1", 0, getattr(importlib.import_module(module), name)) as server:
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
