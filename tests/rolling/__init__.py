"""Old and new workers on the same topics: what each writes, the other one goes on from."""
