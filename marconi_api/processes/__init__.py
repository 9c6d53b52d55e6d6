"""What runs beside a request: the service as a whole, its database, and what looks after them."""
