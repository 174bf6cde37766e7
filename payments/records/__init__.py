"""How commands' answers, ledger entries, messages between the stages and rows are written and read.

``commands`` reads what clients send, ``public`` describes what anyone may read and ``written``
writes it, ``wording`` says it to a person; ``internal`` is for the stages alone; ``decoded`` keeps
rows that would soon be read again.
"""
