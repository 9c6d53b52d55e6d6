"""The waiting room: a process that keeps requests which wait for messages.

A worker hands it a connection whose request found nothing. It runs the request again once there
may be something, and answers over the same connection. docs/waiting.md tells how it is used.
"""
