"""A mail in place of a call, for subscribers ``mailto:``, by the operator's mail server."""

import asyncio
import smtplib
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

from marconi_api.webhooks.calling import (
    REFUSED,
    RESET,
    TIMEOUT,
    TLS,
    UNKNOWN_HOST,
    UNREACHABLE,
    Attempt,
)
from marconi_api.webhooks.rules import MAILTO

#: What a mail server says when it has taken a mail.
_TAKEN = 250

# Each thread sends one mail at a time.
_threads = ThreadPoolExecutor(4, 'mailing')


async def mail(
    server: str, subscriber: str, options: Mapping[str, Any], body: bytes, seconds: float
) -> Attempt:
    """Send ``body`` as a mail; the attempt that is returned says what went wrong, if anything did.

    :param server: the setting ``eventing.smtp_url``
    :param options: the subscription's; ``from`` and ``subject`` are used
    """
    at, began = datetime.now(UTC), time.monotonic()
    status, error = None, None
    try:
        message = _message(server, subscriber, options, body)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            await loop.run_in_executor(_threads, _send, server, message, seconds)
        status = _TAKEN
    except smtplib.SMTPRecipientsRefused as failure:
        [(status, _)] = failure.recipients.values()
    except smtplib.SMTPResponseException as failure:
        status = failure.smtp_code
    except (OSError, smtplib.SMTPException, ValueError) as failure:
        error = _word(failure)
    return Attempt(at, round((time.monotonic() - began) * 1000), status, error)


def _message(server: str, subscriber: str, options: Mapping[str, Any], body: bytes) -> EmailMessage:
    # Any server takes seven bits.
    message = EmailMessage(policy.SMTP.clone(cte_type='7bit'))
    message['From'] = str(options.get('from') or _sender(server))
    message['To'] = subscriber.removeprefix(MAILTO)
    message['Subject'] = str(options.get('subject') or 'Message')
    message.set_content(body.decode())
    return message


def _sender(server: str) -> str:
    user = unquote(urlsplit(server).username or '')
    return user if '@' in user else f'marconi@{socket.gethostname()}'


def _send(server: str, message: EmailMessage, seconds: float) -> None:
    parts = urlsplit(server)
    host, is_tls = parts.hostname or '', parts.scheme == 'smtps'
    kind = smtplib.SMTP_SSL if is_tls else smtplib.SMTP
    with kind(host, parts.port or (465 if is_tls else 25), timeout=seconds) as session:
        session.ehlo()
        if not is_tls and session.has_extn('starttls'):
            session.starttls(context=ssl.create_default_context())
        if parts.username:
            session.login(unquote(parts.username), unquote(parts.password or ''))
        session.send_message(message)


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, TIMEOUT),
    (ssl.SSLError, TLS),
    (socket.gaierror, UNKNOWN_HOST),
    (ConnectionRefusedError, REFUSED),
    (ConnectionError, RESET),
    (smtplib.SMTPServerDisconnected, RESET),
    (OSError, UNREACHABLE),
)


def _word(failure: Exception) -> str:
    return next((word for kind, word in _WORDS if isinstance(failure, kind)), 'not a mail')
