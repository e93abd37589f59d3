"""How many nodes, Redis instances and how much bandwidth a number of streams needs. `python -m bench.simulation --help`.

Arithmetic over costs that the benchmarks measured, and not another measurement: beyond what one machine could run, everything
here is extrapolated. docs/scaling.md shows the outcome and says what it assumes.
"""
