"""``python -m payments.cli``: the command without an installed script."""

from payments.console import main

main()
