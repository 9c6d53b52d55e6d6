"""A real PostgreSQL of our own, where the user names none."""
