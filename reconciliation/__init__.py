"""Jobs that find what should be otherwise, and repair it through the same doors."""
