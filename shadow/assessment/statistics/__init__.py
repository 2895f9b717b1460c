"""Methods of diagnostic accuracy as pure functions on arrays and counts: no store, no clock, no screen.

docs/statistics.md lists every method with its function, its source and the vectors that hold it.
"""
