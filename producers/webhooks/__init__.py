"""To merchants: due deliveries are claimed, signed, posted and recorded."""
