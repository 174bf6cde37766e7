"""The formats of commands, results, ledger entries, messages between the stages, and rows.

``commands`` parses what clients send. ``record_models`` describes the public records,
``record_writer`` writes them, ``wording`` puts them into sentences. ``internal_codec`` has messages
and rows.
"""
