"""Sends to a subscriber, by HTTP or by mail, as the scheme of its URL says."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from marconi_api.webhooks.calling import Attempt, Caller, TooLate
from marconi_api.webhooks.forms import headers_of
from marconi_api.webhooks.mailing import mail
from marconi_api.webhooks.rules import MAILTO, Rules

NO_MAIL_SERVER = 'no mail server'


class Subscriber(NamedTuple):
    """Whom to send to: a URL, or ``mailto:`` and an address; ``secrets`` has the newest first."""

    name: str
    options: Mapping[str, Any]
    secrets: tuple[str, ...]


async def send(
    caller: Caller,
    rules: Rules,
    to: Subscriber,
    call_id: str,
    body: bytes,
    seconds: float,
    may_send: Callable[[], bool] = lambda: True,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Attempt:
    """Send ``body`` once; see :meth:`Caller.call`.

    :param headers: further headers, which Marconi itself sets
    :raises InvalidRequest: if the URL is not allowed, or not any more
    :raises TooLate: as :meth:`Caller.call`
    """
    if not to.name.startswith(MAILTO):
        target = rules.target(to.name)
        signed = headers_of(to.options, to.secrets, call_id, body, headers)
        return await caller.call(target, signed, body, seconds, may_send)
    if rules.smtp_url is None:
        return Attempt.now(NO_MAIL_SERVER)
    if not may_send():
        raise TooLate
    return await mail(rules.smtp_url, to.name, to.options, body, seconds)
