"""OpenStack's messaging API: its versions, and what they share."""
