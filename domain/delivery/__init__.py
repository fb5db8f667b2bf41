"""Deliveries: their states, the schedule of their attempts, and how an endpoint's answers restrain it."""
