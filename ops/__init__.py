"""How Repoint is run: settings, command line, logs, telemetry, embedded parts."""
