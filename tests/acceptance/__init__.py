"""The program from outside: its commands, what they print, and how they end."""
