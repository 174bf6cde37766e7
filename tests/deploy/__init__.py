"""What is deployed beside workers and gateways."""
