"""How Repoint is run."""
