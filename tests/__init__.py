"""What must be true of Repoint, tried on real parts."""
