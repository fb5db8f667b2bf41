"""The commands, one module per noun. Each reads its arguments, calls the rooms below, and writes the result."""
