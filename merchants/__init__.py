"""What happens to merchants' endpoints, and the events that report it."""
