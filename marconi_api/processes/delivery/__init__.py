"""The process that calls webhooks, beside those that answer requests: see office.py."""

#: Threads of such a process in which statements run, each with a connection.
THREADS = 3
