"""The benchmark suite: Headwater, its neighbours and a floor, side by side in one run. `python -m bench --help`.

Results are ratios against the floor measured in the same round, because absolute numbers say more about a machine than
about the code. docs/benchmarks.md shows the last full run and says how to repeat it.
"""
