"""Tests of the engine on an in-memory log: no payment, no broker."""
