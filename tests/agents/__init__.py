"""Tests of the whole application with embedded agents: no broker."""
