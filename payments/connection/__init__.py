"""What a connection to Kafka needs beside addresses: certificates and tokens."""
