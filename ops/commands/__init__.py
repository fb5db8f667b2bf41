"""The commands, one module per noun. Each reads its arguments, asks the rooms behind, and writes what they say."""
