"""The auditor: reads what the stages wrote and proves the guarantees without their code.

It shares with them the models and the codecs of records, and the format of the checkpoints; neither
the payment table nor ``decide`` nor ``post``. ``auditor`` is pure; ``reading`` feeds it.
"""
