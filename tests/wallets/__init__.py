"""How wallets are changed without a message of Kafka's, against a real database."""
