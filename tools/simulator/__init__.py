"""The simulator: the engine and an application on a simulated log, clock and network, by a seed.

Run it with ``make simulate``; what it does and how a failure is replayed is in docs/simulator.md.
"""
