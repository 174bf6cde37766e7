"""Ways back: each command of an operator, tried on what it is for."""
