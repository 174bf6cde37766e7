"""The pure domain: commands, the payment table, the ledger; no clock, no I/O, no Kafka."""
