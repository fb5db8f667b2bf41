"""What becomes of deliveries, without a database."""
