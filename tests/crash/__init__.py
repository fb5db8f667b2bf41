"""Repoint killed and stopped at each point where dying could lose something, or tell it twice."""
