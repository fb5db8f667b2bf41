"""What the loops of the program share: to wait, to give way to each other, and to show that they move."""
