"""The demo, played as a new user would."""
