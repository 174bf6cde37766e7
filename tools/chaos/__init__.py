"""Chaos: a storm of commands on real brokers while workers, brokers and the network fail."""
