"""HTTP, for any protocol: nothing here knows a queue."""
