"""A service under load whose parts are killed, and a check that it kept its promises.

``python -m faults run`` starts two services on one PostgreSQL, and clients that post, claim, pop and
list. Each writes down what it asks and what it is told (``log``). Meanwhile processes are killed and
paused, sessions are ended, and answers are lost (``accidents``). In the end the database is read, and
the ``checker`` says of each message whether all that was told of it can be true together.

``python -m faults controls`` proves that the checker sees faults: it runs services with defects that
are put into them for that (``defects``), each of which must be found.
"""
