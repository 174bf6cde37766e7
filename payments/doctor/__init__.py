"""``payments doctor``: what a start would meet, and the rights of each role."""
