"""The ``payments`` command: one file for each group of commands, loaded when it is called.

``root`` has the table of the commands; nothing that takes time to load is imported before one runs.
"""

from payments.cli.root import main

__all__ = ["main"]
