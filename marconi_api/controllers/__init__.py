"""HTTP: one file a resource, nothing but the wire."""
