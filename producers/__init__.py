"""The way out: vendor feeds onto Kafka, and signed webhooks to merchants."""
