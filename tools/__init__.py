"""What proves the project, measures it (``bench``), and runs it on this machine (``dev``)."""
