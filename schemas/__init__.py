"""The wire: vendors' messages to canonical updates, events to bytes, and the JSON of wallets and merchants."""
