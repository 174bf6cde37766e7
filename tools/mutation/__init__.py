"""Deliberate faults: each is put into a copy of the source, and the tests have to notice it."""
