"""How updates are taken in, against a real database."""
