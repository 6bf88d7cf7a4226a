"""What is to be run, as plain data."""
