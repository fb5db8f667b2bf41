"""The real parts that tests and benchmarks run on: Apache Kafka and PostgreSQL, however this machine can have them."""
