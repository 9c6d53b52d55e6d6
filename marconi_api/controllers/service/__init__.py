"""What belongs to no protocol: the description of the API."""
