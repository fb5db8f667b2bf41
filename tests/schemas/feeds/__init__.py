"""Adapters: a test for every code, and what holds for all of them."""
