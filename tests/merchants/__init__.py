"""What happens to merchants' endpoints."""
