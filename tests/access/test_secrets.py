"""No secret is in the log, in the list of processes, in an answer or in a repr."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from marconi_api import model
from marconi_api.controllers.access.identity import Identity
from marconi_api.model.tokens import Token
from tests.running_service import HEADERS, services

SIGNING_KEY = 'a-signing-key-that-nobody-may-see'
KEYSTONE_PASSWORD = 'a-password-that-nobody-may-see'


def test_a_tour_leaves_no_secret_anywhere() -> None:
    with services() as start:
        service = start(
            MARCONI_ACCESS='token',
            MARCONI_SIGNING_KEYS=SIGNING_KEY,
            MARCONI_KEYSTONE_PASSWORD=KEYSTONE_PASSWORD,
        ).wait_until_ready()
        made = subprocess.run(
            [
                *(sys.executable, '-m', 'marconi_api.commands', 'token', 'create'),
                *('--project', 'acme', '--role', 'admin'),
            ],
            env=os.environ | {'MARCONI_DATA_DIR': str(service.data_dir)},
            capture_output=True,
            text=True,
            check=True,
        )
        token = made.stdout.strip()
        secret = token.rpartition('_')[2][:-6]
        wrong = token[:-1] + ('a' if token[-1] != 'a' else 'b')
        said = []
        with contextlib.closing(service.connect()) as connection:
            for method, path, sent, body in (
                ('GET', '/v2/queues', token, None),
                ('GET', '/v2/tokens', token, None),
                ('GET', '/v2/queues', wrong, None),
                ('GET', '/nowhere', token, None),
                ('PUT', '/v2/queues/jobs', token, '{"_max_claim_count": "x"}'),
                ('POST', '/v2/queues/jobs/messages', token, '{'),
                ('POST', '/v2/queues/jobs/share', token, '{}'),
                ('POST', '/v2/queues/jobs/share', token, '{"paths": ["pools"]}'),
                ('GET', '/v2/health', token, None),
            ):
                headers = {**HEADERS, 'Authorization': f'Bearer {sent}'}
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                said.append(f'{response.headers}{response.read().decode()}')
        processes = subprocess.run(['ps', '-eww', '-o', 'args'], capture_output=True, text=True)
        # What was said in the end, too.
        out, log = service.end(signal.SIGTERM)
        database_log = ''.join(
            path.read_text(errors='replace') for path in Path(service.data_dir).glob('log*')
        )

    for text in (made.stderr, *said, processes.stdout, out, log, database_log):
        for hidden in (secret, token, SIGNING_KEY, KEYSTONE_PASSWORD):
            assert hidden not in text


def test_what_is_shown_of_a_token_has_no_secret(app: object) -> None:
    made = model.store.tokens.create('acme', 'writer')
    secret = made.text.rpartition('_')[2][:-6]
    valid = model.store.tokens.look_up(made.text)

    for shown in (made, made.token, valid, Identity('acme', token=made.token.id)):
        assert secret not in repr(shown)
        assert secret not in str(shown)
    assert not {'text', 'secret', 'hash'} & set(Token.__slots__)
