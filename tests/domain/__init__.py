"""The rules, tried without any fixture."""
