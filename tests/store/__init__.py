"""What stands in the database, and what it refuses to hold."""
