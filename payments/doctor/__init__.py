"""``payments doctor``: the obstacles that a worker's start would meet, and the rights of roles."""
