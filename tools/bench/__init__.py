"""Benchmarks: speed, CPU and memory of a worker on a real broker. Run them with ``make bench``."""
