"""The wire: vendor messages to canonical updates, events to bytes."""
