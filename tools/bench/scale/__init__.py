"""``python -m tools.bench.scale``: what partitions cost, and what that means for more workers."""
