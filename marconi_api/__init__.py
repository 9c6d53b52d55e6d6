"""Marconi: a message queue service over HTTP, on PostgreSQL."""
