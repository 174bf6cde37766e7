"""Tests of payments.client."""
