"""What jobs of reconciliation look for and repair, a module for each, and the record of their runs."""
