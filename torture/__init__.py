"""Breaks networks, servers and processes under load, and proves that every stream got its part of the log all the same.

`python -m torture` is the command; docs/torture.md says what it does. Read it in this order: `plan`, `schedule`, `records`,
`oracle` and `ledger` (values and judgement, pure); `listening`, `streams` and `publishing` (the load); `processes`,
`stores` and `world` (what is broken); `scenarios`, `judging` and `__main__`.
"""
