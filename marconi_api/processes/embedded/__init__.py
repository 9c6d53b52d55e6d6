"""The embedded PostgreSQL: a real server, for services whose settings name none."""
