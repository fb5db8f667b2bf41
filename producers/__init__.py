"""Everything that is sent: updates to Kafka, requests to vendors, signed webhooks to merchants."""
