"""Benchmarks of the whole toolkit: `python -m benchmarks` runs it beside its peers, the other files measure one thing each."""
