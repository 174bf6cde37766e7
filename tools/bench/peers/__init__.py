"""``make bench-peers``: the same job on other systems, measured in turn with ours."""
