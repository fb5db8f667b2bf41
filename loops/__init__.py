"""Shared parts of the program's loops: waiting, giving way to other tasks, and a watchdog's progress."""
