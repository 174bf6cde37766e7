"""The development environment: a local broker and ``make run``; not part of the package."""
