"""``python -m payments.cli``: the command without an installed script."""

from payments.cli import main

main(prog_name="payments")
