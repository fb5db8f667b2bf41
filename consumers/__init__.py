"""The way in: vendor updates from Kafka, one batch one transaction."""
