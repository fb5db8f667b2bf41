"""The rules, pure: no I/O, no clock, no randomness, no ids of its own making."""
