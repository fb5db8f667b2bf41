"""Wire formats: canonical updates from vendors' feeds, events for merchants, and the JSON of wallets and merchants."""
