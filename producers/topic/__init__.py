"""Onto Kafka: files, posted bodies and vendors' reports become messages, acknowledged before anybody is answered."""
