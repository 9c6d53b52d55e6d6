"""The tour of a user of `openstack messaging`, and where the environments of clients are."""

import contextlib
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import Service

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get('MARCONI_TEST_CLIENTS') or CHECKOUT / '.venv')
OF_VERSION_1, OF_VERSION_2 = ENVIRONMENTS / 'clients-v1/bin', ENVIRONMENTS / 'clients-v2/bin'


def requests_to(service: Service, log: str) -> list[str]:
    """What the service was asked, by the log of urllib3, which all clients use."""
    return re.findall(rf'127\.0\.0\.1:{service.port} "([A-Z]+ \S+) HTTP/1\.1"', log)


class Openstack:
    """The `openstack messaging` command, as a person would type it."""

    def __init__(
        self, service: Service, options: str, commands: 'subprocess.Popen[str]', environment: Any
    ) -> None:
        self.service = service
        # With --debug, the command logs its requests.
        self.options = ['--debug', *options.split(), 'messaging']
        self.commands = commands
        self.environment = environment

    def run(self, command: str) -> tuple[int, str, str]:
        """The exit status, the output and the errors of a command."""
        assert self.commands.stdin is not None
        assert self.commands.stdout is not None
        print(json.dumps(self._arguments(command)), file=self.commands.stdin, flush=True)
        status, output, errors = json.loads(self.commands.stdout.readline())
        return status, output, errors

    def run_the_program(self, command: str) -> tuple[int, str, str]:
        """The same of a command that has a process to itself."""
        done = subprocess.run(
            [OF_VERSION_2 / 'openstack', *self._arguments(command)],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    def __call__(self, command: str, *requests: str) -> Any:
        """The JSON that a command prints; it succeeds, with just these requests."""
        status, output, errors = self.run(command)
        assert (status, requests_to(self.service, errors)) == (0, list(requests)), errors
        return json.loads(output) if output else None

    def _arguments(self, command: str) -> list[str]:
        return [*self.options, *shlex.split(command)]


def running_commands(environment: dict[str, str]) -> 'subprocess.Popen[str]':
    """A process that runs one `openstack` command after the other, on one service."""
    return subprocess.Popen(
        [OF_VERSION_2 / 'python', HERE / 'openstack_commands.py'],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def make_its_tour(service: Service, openstack: Openstack) -> None:
    """All its commands but those for pools and flavors, which we have not."""
    assert openstack('ping -f json', 'GET /v2/ping') == {'Pingable': True}
    assert 'rel/queues' in openstack('homedoc', 'GET /v2/')['resources']

    openstack('queue create tour -f json', 'PUT /v2/queues/tour')
    openstack(
        """queue set metadata tour '{"purpose": "tour"}'""",
        'GET /v2/queues/tour',
        'PATCH /v2/queues/tour',
    )
    shown = openstack('queue get metadata tour -f json', 'GET /v2/queues/tour')
    assert shown['Metadata']['purpose'] == 'tour'
    (listed,) = openstack(
        'queue list --detailed --with_count --limit 1 --marker tou -f json',
        'GET /v2/queues?marker=tou&limit=1&detailed=True&with_count=True',
    )
    assert (listed['Name'], listed['Metadata_Dict']) == ('tour', shown['Metadata'])

    posted = '[{"body": "one", "ttl": 100}, {"body": "two", "ttl": 100}, {"body": "three"}]'
    openstack(f"message post tour '{posted}'", 'POST /v2/queues/tour/messages')
    page = openstack(
        'message list tour --echo --limit 2 -f json',
        'GET /v2/queues/tour/messages'
        '?limit=2&echo=True&include_claimed=False&include_delayed=False',
    )
    assert [message['Body'] for message in page] == ['one', 'two']
    one, two = (message['ID'] for message in page)
    named = openstack(
        f'message list tour --message-ids {one},{two} -f json',
        f'GET /v2/queues/tour/messages?ids={one}&ids={two}',
    )
    assert [message['Body'] for message in named] == ['one', 'two']

    (claimed,) = openstack(
        'claim create tour --ttl 300 --grace 300 --limit 1 -f json',
        'POST /v2/queues/tour/claims?limit=1',
    )
    assert (claimed['Message_ID'], claimed['Messages']) == (one, 'one')
    claim = claimed['Claim_ID']
    path = f'/v2/queues/tour/claims/{claim}'
    (held,) = openstack(f'claim query tour {claim} -f json', f'GET {path}')
    assert held['Message'] == 'one'
    (held,) = openstack(
        f'claim renew tour {claim} --ttl 400 -f json', f'PATCH {path}', f'GET {path}'
    )
    assert held['Message'] == 'one'
    assert counts(openstack) == {'free': 2, 'claimed': 1, 'total': 3}
    openstack(f'claim release tour {claim}', f'DELETE {path}')

    shared = openstack(
        'queue signed url tour --paths messages --ttl-seconds 600 --methods GET -f json',
        'POST /v2/queues/tour/share',
    )
    # None of them is claimed any more.
    assert bodies_for_a_guest(service, shared) == ['one', 'two', 'three']

    subscribe(openstack)
    openstack('queue purge tour', 'POST /v2/queues/tour/purge')
    assert counts(openstack) == {'free': 0, 'claimed': 0, 'total': 0}
    openstack('queue delete tour', 'DELETE /v2/queues/tour')


def subscribe(openstack: Openstack) -> None:
    """The commands of subscriptions."""
    path = '/v2/queues/tour/subscriptions'
    # It asks for the subscription by its id, which nobody knows before.
    status, output, errors = openstack.run(
        'subscription create tour http://hooks.example.com/ 600 -f json'
    )
    assert status == 0, errors
    made = json.loads(output)
    assert requests_to(openstack.service, errors) == [f'POST {path}', f'GET {path}/{made["ID"]}']
    assert (made['Subscriber'], made['TTL'], made['Options']) == (
        *('http://hooks.example.com/', 600),
        {},
    )
    hook = f'{path}/{made["ID"]}'
    openstack(
        f"""subscription update tour {made['ID']} --ttl 700 --options '{{"_timeout": 5}}' -f json""",
        f'PATCH {hook}',
    )
    shown = openstack(f'subscription show tour {made["ID"]} -f json', f'GET {hook}')
    assert (shown['TTL'], shown['Confirmed'], shown['Options']) == (700, True, {'_timeout': 5})
    (listed,) = openstack('subscription list tour --limit 5 -f json', f'GET {path}?limit=5')
    assert listed['ID'] == made['ID']
    openstack(f'subscription delete tour {made["ID"]}', f'DELETE {hook}')


def counts(openstack: Openstack) -> dict[str, int]:
    stats = openstack('queue stats tour -f json', 'GET /v2/queues/tour/stats')['Stats']
    return {name: stats['messages'][name] for name in ('free', 'claimed', 'total')}


def bodies_for_a_guest(service: Service, shared: dict[str, str]) -> list[Any]:
    """What who has nothing but a signed URL reads; the command itself cannot make use of one."""
    headers = {
        'Client-ID': '5b1c9b0e-2b9e-11e3-b191-71861300734c',
        'X-Project-Id': shared['Project ID'],
        'URL-Paths': shared['Paths'],
        'URL-Methods': shared['Methods'],
        'URL-Expires': shared['Expires'],
        'URL-Signature': shared['Signature'],
    }
    with contextlib.closing(service.connect()) as connection:
        connection.request('GET', shared['Paths'], headers=headers)
        response = connection.getresponse()
        assert response.status == 200
        return [message['body'] for message in json.load(response)['messages']]
