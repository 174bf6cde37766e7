"""The formats of commands, results, ledger entries, messages between the stages, and rows.

``commands`` parses what clients send. ``record_models`` defines the public records,
``record_writer`` writes them, ``record_parts`` makes structs of them for whoever reads very many,
``wording`` puts them into sentences. ``internal_codec`` has messages and rows, ``recovery_notes``
what the recovery commands write for the audit.
"""
