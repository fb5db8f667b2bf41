"""Planted differences are found and repaired, a second run finds none, and nothing else changes."""
