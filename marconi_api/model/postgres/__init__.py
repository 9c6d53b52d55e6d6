"""How the model is kept in PostgreSQL."""
