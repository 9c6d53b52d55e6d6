"""Calls to subscribers over HTTP: which may be made, how they are signed, and how they are made.

Nothing here knows a queue or the database.
"""
