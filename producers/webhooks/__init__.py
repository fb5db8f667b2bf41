"""Webhooks to merchants: due deliveries are claimed, signed, posted and recorded."""
