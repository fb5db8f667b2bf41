"""Waiting, retrying and progress of loops."""
