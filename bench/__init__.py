"""Throughput and latency, each beside its baseline in the same run, with CPU per item."""
