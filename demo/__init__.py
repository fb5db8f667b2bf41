"""The demo: the story end to end, on an embedded database and broker, with merchants' receivers on loopback."""
