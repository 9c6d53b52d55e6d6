"""Mails in place of calls, to a server that speaks SMTP."""

import asyncio
import contextlib
import email
import email.policy
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

import pytest

from marconi_api.errors import InvalidRequest
from marconi_api.webhooks.calling import Attempt, Caller
from marconi_api.webhooks.rules import Rules, check_mail_address
from marconi_api.webhooks.sending import Subscriber, send


@dataclass
class MailServer:
    """Takes mails, or says no to their receivers."""

    refusal: str = ''
    port: int = 0
    mails: list[str] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile('r', newline='\r\n') as lines:
                    self._talk(connection, lines)

    def _talk(self, connection: socket.socket, talk: TextIO) -> None:
        def say(line: str) -> None:
            connection.sendall(f'{line}\r\n'.encode())

        say('220 test')
        for line in talk:
            verb = line[:4].upper()
            if verb == 'DATA':
                say('354 go on')
                lines = list(iter(lambda: talk.readline().rstrip('\r\n'), '.'))
                self.mails.append('\n'.join(lines))
            if verb == 'QUIT':
                say('221 bye')
                return
            say(self.refusal if verb == 'RCPT' and self.refusal else '250 well')


@contextlib.contextmanager
def mail_server(refusal: str = '') -> Iterator[MailServer]:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        server = MailServer(refusal, listener.getsockname()[1])
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        yield server
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def mailed(port: int | None, **options: str) -> Attempt:
    rules = Rules((), frozenset(), f'smtp://127.0.0.1:{port}' if port else None)
    to = Subscriber('mailto:a@example.com', options, ('whsec_',))
    return asyncio.run(send(Caller(rules), rules, to, 'id', '{"body": "grüße"}'.encode(), 5))


def test_a_mail_has_what_a_webhook_would_get() -> None:
    with mail_server() as server:
        attempt = mailed(server.port, subject='News', **{'from': 'b@example.com'})

    assert (attempt.status, attempt.has_delivered) == (250, True)
    [text] = server.mails
    mail = email.message_from_string(text, policy=email.policy.default)
    assert (mail['From'], mail['To'], mail['Subject']) == ('b@example.com', 'a@example.com', 'News')
    assert mail.get_content().strip() == '{"body": "grüße"}'


def test_what_went_wrong_is_told() -> None:
    with mail_server('550 nobody') as server:
        assert mailed(server.port).status == 550
    assert mailed(server.port).error == 'refused'
    assert mailed(None).error == 'no mail server'


def test_no_header_is_smuggled_into_a_mail() -> None:
    with mail_server() as server:
        assert mailed(server.port, subject='a\r\nBcc: c@example.com').error == 'not a mail'

    assert server.mails == []


@pytest.mark.parametrize(
    'address',
    ['', 'a', 'a@', '@b', 'a@b,c@d', 'a@b c@d', 'a@b?cc=c@d', 'a@b\r\nBcc: c', 'ä@b', '<a@b>'],
)
def test_a_subscriber_is_one_address(address: str) -> None:
    with pytest.raises(InvalidRequest):
        check_mail_address(f'mailto:{address}')
