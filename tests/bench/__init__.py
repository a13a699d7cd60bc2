"""Benchmarks: walbrook beside its peers, in one run."""
