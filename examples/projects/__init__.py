"""Projects: plain SQL from any process becomes live updates of a page. The third reference application."""
