"""What a worker and a gateway have in common as processes: signals, output, open files."""
