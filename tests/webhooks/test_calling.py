"""Calls of real servers: what is sent, and what is made of each kind of answer."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from marconi_api.webhooks.calling import Attempt, Caller, Names
from marconi_api.webhooks.rules import Rules
from tests.running_service import DEADLINE
from tests.webhooks import forbidden
from tests.webhooks.receivers import (
    Answer,
    Receiver,
    drips,
    hangs,
    receiver,
    resets,
    says,
    status,
)

BODY = b'{"body": 1}'


def call(
    receiving: Receiver, url: str | None = None, seconds: float = DEADLINE, **of_caller: Any
) -> Attempt:
    rules = receiving.rules
    caller = Caller(rules, **of_caller)
    return asyncio.run(caller.call(rules.target(url or receiving.url), {'X-A': 'b'}, BODY, seconds))


def outcome(answer: Answer, seconds: float = DEADLINE) -> str | int | None:
    with receiver(answer) as receiving:
        attempt = call(receiving, seconds=seconds)
    return attempt.error or attempt.status


def test_a_call_is_a_post_with_headers_and_body() -> None:
    with receiver() as receiving:
        attempt = call(receiving)

    [arrived] = receiving.calls
    assert attempt.has_delivered
    assert arrived.line == 'POST /hook?a=b HTTP/1.1'
    assert arrived.body == BODY
    assert arrived.headers == {
        'host': f'127.0.0.1:{receiving.port}',
        'x-a': 'b',
        'content-length': str(len(BODY)),
        'connection': 'close',
    }


@pytest.mark.parametrize('code', [200, 201, 204, 299])
def test_any_2xx_delivers(code: int) -> None:
    with receiver(status(code)) as receiving:
        assert call(receiving).has_delivered


@pytest.mark.parametrize('code', [301, 302, 307, 308, 400, 408, 410, 429, 500, 503])
def test_any_other_status_does_not(code: int) -> None:
    with receiver(status(code)) as receiving:
        attempt = call(receiving)

    assert (attempt.status, attempt.has_delivered, attempt.error) == (code, False, None)


@pytest.mark.parametrize('code', [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(code: int) -> None:
    with receiver() as other, receiver(status(code, f'Location: {other.url}')) as receiving:
        assert call(receiving).status == code

    assert other.connections == 0


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy, receiver() as receiving:
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
            monkeypatch.setenv(name, proxy.url)

        assert call(receiving).has_delivered

    assert proxy.connections == 0


@pytest.mark.parametrize(
    ('answer', 'error'),
    [
        (hangs, 'timeout'),
        (resets, 'reset'),
        (says(b''), 'reset'),
        (says(b'HTTP/1.1 200'), 'reset'),
        (says(b'SSH-2.0-OpenSSH_9.2\r\n\r\n'), 'not http'),
        (says(b'HTTP/1.1 two hundred\r\n\r\n'), 'not http'),
        (drips(b'HTTP/1.1 200 OK\r\n', b'A: b\r\n'), 'timeout'),
        (drips(b'', b'H'), 'timeout'),
        (drips(b'', b'HTTP/1.1 103 Early Hints\r\n\r\n'), 'timeout'),
        (drips(b'HTTP/1.1 200 OK\r\n', b'A: ' + b'b' * 9000 + b'\r\n', 0), 'answer too long'),
        (drips(b'', b'HTTP/1.1 103 Early Hints\r\n\r\n' * 100, 0), 'answer too long'),
    ],
)
def test_a_failure_is_told_in_a_word(answer: Answer, error: str) -> None:
    assert outcome(answer, seconds=0.5 if error == 'timeout' else DEADLINE) == error


def test_a_dripping_answer_does_not_outlast_the_time() -> None:
    began = time.monotonic()

    assert outcome(drips(b'', b'H', 0.02), seconds=0.4) == 'timeout'

    assert time.monotonic() - began < 3


@pytest.mark.parametrize('start', [b'Transfer-Encoding: chunked\r\n\r\n', b'\r\n'])
def test_the_status_counts_whatever_comes_after_it(start: bytes) -> None:
    """An endless body is read for its first 64 KiB only."""
    endless = drips(b'HTTP/1.1 200 OK\r\n' + start, b'5\r\nabcde\r\n' * 1000, 0)
    dripping = drips(b'HTTP/1.1 200 OK\r\n' + start, b'1\r\na\r\n')

    assert outcome(endless) == 200
    assert outcome(dripping, seconds=2) == 200


def test_no_more_than_64_kib_of_an_answer_is_taken() -> None:
    sent = []

    def floods(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        while True:
            sent.append(connection.send(b'x' * 65536))

    with receiver(floods) as receiving:
        began = time.monotonic()
        assert call(receiving).has_delivered

    # The rest was in the buffers of the kernel.
    assert time.monotonic() - began < 10
    assert sum(sent) < 16 * 2**20


def test_a_closed_port_refuses() -> None:
    with receiver() as receiving:
        pass

    assert call(receiving).error == 'refused'


@pytest.mark.parametrize(
    ('header', 'seconds'),
    [
        ('Retry-After: 17', 17),
        ('retry-after:  0', 0),
        ('Retry-After: Wed, 21 Oct 2015 07:28:00 GMT', 0),
        ('Retry-After: soon', None),
        ('Retry-After: -5', None),
        ('Retry-After: 1e3', None),
        ('X: y', None),
    ],
)
def test_the_subscriber_says_when_to_call_again(header: str, seconds: float | None) -> None:
    with receiver(status(503, header)) as receiving:
        assert call(receiving).retry_after == seconds


class Answers:
    """A resolver whose answers change: the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[Any]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(one) for one in answer]


def test_a_name_is_looked_up_once_and_what_was_checked_is_called() -> None:
    """Rebinding: a second look-up would have led elsewhere."""
    names = Answers(['127.0.0.1'], ['10.0.0.1'])
    with receiver() as receiving:
        attempt = call(receiving, f'http://rebinding.example:{receiving.port}/', resolve=names)

    assert attempt.has_delivered
    assert names.asked == 1
    assert receiving.calls[0].headers['host'] == f'rebinding.example:{receiving.port}'


def test_a_name_is_checked_at_every_call() -> None:
    names = Answers(['127.0.0.1'], ['127.0.0.2', '::1'])
    with receiver() as receiving:
        rules = Rules.from_config(
            {'allowed_networks': ['127.0.0.1/32'], 'allowed_ports': [receiving.port]}
        )
        caller = Caller(rules, resolve=names)
        target = rules.target(f'http://rebinding.example:{receiving.port}/')
        first, second = (asyncio.run(caller.call(target, {}, BODY, 5)) for _ in range(2))

    assert (first.status, second.error) == (200, 'forbidden address')
    assert receiving.connections == 1


def test_of_several_addresses_one_that_may_be_called_is_called() -> None:
    names = Answers(['10.0.0.1', '169.254.169.254', '127.0.0.1'])
    with receiver() as receiving:
        assert call(receiving, f'http://a.example:{receiving.port}/', resolve=names).has_delivered


def test_a_name_without_an_address_is_told() -> None:
    with receiver() as receiving:
        url = f'http://a.example:{receiving.port}/'

        assert call(receiving, url, resolve=Answers([])).error == 'unknown host'
        assert call(receiving, f'http://nowhere.invalid:{receiving.port}/').error == 'unknown host'


def test_a_name_server_that_hangs_does_not_outlast_the_time() -> None:
    async def hang(host: str, port: int) -> list[Any]:
        await asyncio.sleep(60)
        return []

    with receiver() as receiving:
        url = f'http://a.example:{receiving.port}/'

        assert call(receiving, url, seconds=0.2, resolve=hang).error == 'timeout'


@contextlib.contextmanager
def name_server(**names: str) -> Iterator[int]:
    """A name server on a port; it says nothing to questions about other names."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listening:
        listening.bind(('127.0.0.1', 0))

        def serve() -> None:
            while True:
                question, asker = listening.recvfrom(4096)
                if not question:
                    return
                # After the head of 12 bytes the name, in parts that begin with their length.
                end = question.index(b'\0', 12)
                name = question[13 : 13 + question[12]].decode()
                is_v4 = question[end + 1 : end + 3] == b'\0\x01'
                if name in names:
                    found = bytes(map(int, names[name].split('.')))
                    # A pointer to the name, type A, class IN, seconds to live, length.
                    record = b'\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04' + found if is_v4 else b''
                    head = question[:2] + b'\x81\x80\0\x01' + bytes((0, is_v4)) + bytes(4)
                    listening.sendto(head + question[12 : end + 5] + record, asker)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as ending:
            ending.sendto(b'', listening.getsockname())
        thread.join()


def test_names_whose_server_is_silent_hold_up_no_other() -> None:
    async def look_up(port: int) -> tuple[list[Any], int]:
        names = Names(nameservers=['127.0.0.1'], udp_port=port)
        silent = [asyncio.ensure_future(names(f'silent{n}.example', 80)) for n in range(500)]
        await asyncio.sleep(0)
        found = await names('quick.example', 80)
        still = sum(not one.done() for one in silent)
        await names.close()
        await asyncio.gather(*silent, return_exceptions=True)
        return found, still

    with name_server(quick='192.0.2.1') as port:
        found, still = asyncio.run(look_up(port))

    assert found == [ip_address('192.0.2.1')]
    assert still == 500


def test_a_look_up_that_is_given_up_says_nothing_later() -> None:
    async def give_up(port: int) -> None:
        names = Names(nameservers=['127.0.0.1'], udp_port=port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await names('silent.example', 80)
        await names.close()

    with name_server() as port, pytest.MonkeyPatch.context() as patch:
        told: list[Any] = []
        patch.setattr(sys, 'unraisablehook', told.append)
        asyncio.run(give_up(port))

    assert told == []


def is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


ADDRESSES = [
    host.strip('[]')
    for host in forbidden.WITHIN_IPV6 + forbidden.NOT_PUBLIC + forbidden.METADATA
    if is_address(host.strip('[]'))
]


@pytest.mark.parametrize('address', ADDRESSES)
def test_no_name_leads_to_a_forbidden_address(address: str) -> None:
    """What a name server says is checked like what a URL says; nothing is connected to."""
    rules = Rules.from_config({'allowed_networks': [], 'allowed_ports': [80]})
    caller = Caller(rules, resolve=Answers([address]))

    attempt = asyncio.run(caller.call(rules.target('http://a.example/'), {}, BODY, 5))

    assert attempt.error == 'forbidden address'


def test_the_resolver_of_this_machine_knows_no_way_round() -> None:
    """A spelling that the reading of a URL let pass would be refused when it is called."""
    rules = Rules.from_config({'allowed_networks': [], 'allowed_ports': [80]})
    caller = Caller(rules)
    target = rules.target('http://a.example/')

    for host in ('localhost', '0x7f.1', '017700000001', '2130706433', 'ip6-localhost'):
        attempt = asyncio.run(caller.call(replace(target, host=host), {}, BODY, 5))
        assert attempt.error in ('forbidden address', 'unknown host')


@pytest.fixture(scope='module')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for a.example, which is its own authority, and its key."""
    if shutil.which('openssl') is None:
        pytest.skip('the certificate is made with openssl')
    path = tmp_path_factory.mktemp('tls') / 'both.pem'
    subprocess.run(
        [
            *('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'),
            *('-nodes', '-days', '2', '-subj', '/CN=a.example', '-out', path),
            *('-addext', 'subjectAltName=DNS:a.example', '-keyout', path.with_suffix('.key')),
        ],
        check=True,
        capture_output=True,
    )
    with path.open('a') as file:
        file.write(path.with_suffix('.key').read_text())
    return path


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def call_over_tls(certificate: Path, host: str, trusts: bool = True) -> Attempt:
    context = ssl.create_default_context(cafile=str(certificate) if trusts else None)
    with receiver(tls=server_tls(certificate)) as receiving:
        url = f'https://{host}:{receiving.port}/'
        return call(receiving, url, resolve=Answers(['127.0.0.1']), tls=context)


def test_a_certificate_is_checked_by_the_name_and_not_by_the_address(certificate: Path) -> None:
    assert call_over_tls(certificate, 'a.example').has_delivered
    assert call_over_tls(certificate, 'b.example').error == 'tls'


def test_a_certificate_must_be_of_an_authority_that_is_trusted(certificate: Path) -> None:
    assert call_over_tls(certificate, 'a.example', trusts=False).error == 'tls'


def test_plain_text_where_tls_is_due_is_told() -> None:
    def refuse(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')

    with socket.create_server(('127.0.0.1', 0)) as server:
        threading.Thread(target=refuse, args=(server,), daemon=True).start()
        receiving = Receiver(server.getsockname()[1])
        attempt = call(receiving, f'https://127.0.0.1:{receiving.port}/')

    assert attempt.error == 'tls'


def test_a_subscriber_that_hangs_in_the_handshake_does_not_outlast_the_time() -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        receiving = Receiver(server.getsockname()[1])
        attempt = call(receiving, f'https://127.0.0.1:{receiving.port}/', seconds=0.3)

    assert attempt.error == 'timeout'
