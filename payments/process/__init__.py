"""The process of a worker or gateway: its signals, its log output, its open files."""
