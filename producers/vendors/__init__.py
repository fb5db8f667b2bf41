"""To vendors: a thin event says that something changed, and the vendor's API is asked what."""
