"""What Redis adds between two nodes: how long an event takes through it, and what each side works for that.

The reference is Redis' own pub/sub with the same client library, on the same cores, in the same run. `latency` and `work`
measure; `publisher`, `subscriber` and `node` are the processes between which they do.
"""
