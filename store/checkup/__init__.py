"""What is measured of an installation, and judged by `domain.checkup`. Statements read a bounded number of rows."""
