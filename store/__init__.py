"""PostgreSQL: the tables, their migrations and every statement, one module per noun."""
