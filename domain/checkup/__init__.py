"""What is a fault of an installation, judged by values that were measured."""
