"""The ways out: updates onto Kafka, questions to vendors, signed webhooks to merchants."""
