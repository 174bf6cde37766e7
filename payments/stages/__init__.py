"""The two stages: they convert records to messages of the domain, decisions to rows and outputs.

A make goes commands -> payments -> transfers -> accounts -> inbox -> payments -> results.
A command for an account goes accounts.commands -> accounts -> accounts.results.
"""

from .accounts import ACCOUNT_RESULT_TYPE, ENTRY_TYPE, accounts_stage
from .payments import RESULT_TYPE, payments_stage

__all__ = [
    "ACCOUNT_RESULT_TYPE",
    "ENTRY_TYPE",
    "RESULT_TYPE",
    "accounts_stage",
    "payments_stage",
]
