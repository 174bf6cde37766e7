"""The HTTP gateway: a request becomes a command on its topic, and the answer is its result."""
