"""Credentials of a connection to Kafka: certificates and tokens."""
