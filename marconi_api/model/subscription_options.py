"""What a client may say of a subscription: who the subscriber is, and its options.

See docs/eventing.md and docs/protocol-v2.md, 8.
"""

import re
from functools import cached_property
from typing import Any

import msgspec

from marconi_api import limits
from marconi_api.errors import InvalidRequest
from marconi_api.model import retry_policy
from marconi_api.webhooks import rules, signatures

_QUEUE_SCHEME = 'queue:'

#: What stands for a value that is never shown again; who sends it keeps the value.
HIDDEN = '***'
# The header whose value is not shown, in lower case.
_HIDDEN_HEADER = 'authorization'
# Headers that are ours to set, or that say how a connection is used, in lower case.
_OUR_HEADERS = (
    *('host', 'content-length', 'transfer-encoding', 'connection', 'keep-alive', 'te', 'trailer'),
    *('upgrade', 'expect'),
)
_OUR_PREFIXES = ('webhook-', 'proxy-')
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r'[\x20-\x7e\t]*')

#: The ranges of options that are numbers.
RANGES = {'_max_in_flight': limits.Range(1, 100, 10), '_timeout': limits.Range(1, 30, 10)}


# ---------------------------------------------------------------- subscribers


def target_of(subscriber: str) -> str | None:
    """The name of the queue that gets copies; None if the subscriber is a webhook."""
    return subscriber.removeprefix(_QUEUE_SCHEME) if subscriber.startswith(_QUEUE_SCHEME) else None


def check_subscriber(subscriber: str) -> None:
    """Refuse what nothing can be delivered to.

    :raises InvalidRequest: in words that say what would do
    """
    scheme = subscriber.partition(':')[0].lower()
    if scheme == 'mailto' and rules.in_force.smtp_url:
        rules.check_mail_address(subscriber)
    elif scheme in _REFUSED:
        raise InvalidRequest(_REFUSED[scheme])
    elif subscriber.startswith(_QUEUE_SCHEME):
        _check_queue(subscriber.removeprefix(_QUEUE_SCHEME))
    elif scheme in ('http', 'https'):
        rules.in_force.target(subscriber)
    else:
        raise InvalidRequest(
            'The subscriber must be a URL that begins with http:// or https://, or queue: and the '
            'name of a queue.'
        )


_REFUSED = {
    'mailto': 'This service sends no mail: it has no SMTP server. Subscribe a URL that begins '
    'with http:// or https://, or queue: and the name of a queue.',
    'trust+http': 'trust+http is not offered: this service does not use trusts of Keystone. '
    'Subscribe the URL with http://, and check the signature of what is sent.',
    'trust+https': 'trust+https is not offered: this service does not use trusts of Keystone. '
    'Subscribe the URL with https://, and check the signature of what is sent.',
}


def _check_queue(name: str) -> None:
    if not limits.in_force.is_queue_name(name):
        raise InvalidRequest(
            'A subscriber queue: must be followed by the name of a queue: '
            f'{limits.in_force.form_of_names}.'
        )


# ---------------------------------------------------------------- options


class Options:
    """The options of a subscription: a JSON object, of which only some members are looked at.

    :param text: the object's text
    """

    def __init__(self, text: str = '{}') -> None:
        self._members = _parse_object(text)

    @property
    def text(self) -> str:
        """What is stored: all as the client sent it but the secret, which has columns of its own."""
        return _text_of({name: raw for name, raw in self._members.items() if name != '_secret'})

    @property
    def secret(self) -> str | None:
        """The secret that the client gave, if it did."""
        value = self._value('_secret')
        return value if value is None else str(value)

    @property
    def dead_letter_queue(self) -> str | None:
        """The queue to which messages go that could not be delivered."""
        name = self._value('_dead_letter_queue')
        return name if isinstance(name, str) else None

    @property
    def shown(self) -> str:
        """The text without what is never shown again."""
        if not any(map(_is_hidden, self._headers)):
            return self.text
        return self._with_headers(
            {name: HIDDEN if _is_hidden(name) else value for name, value in self._headers.items()}
        ).text

    def keeping(self, before: 'Options') -> 'Options':
        """These options, with what was in those before where they say HIDDEN.

        :raises InvalidRequest: if there was nothing
        """
        if not any(map(_is_hidden, self._headers)):
            return self
        known = {name.lower(): value for name, value in before._headers.items()}

        def value_of(name: str, value: Any) -> Any:
            if value != HIDDEN or not _is_hidden(name):
                return value
            if name.lower() not in known:
                raise InvalidRequest(f'post_headers: {name} has no value that {HIDDEN} could keep.')
            return known[name.lower()]

        return self._with_headers(
            {name: value_of(name, value) for name, value in self._headers.items()}
        )

    def check(self) -> None:
        """Refuse options of which one has no good value; what is not known is kept as it is.

        :raises InvalidRequest: in words that name the option
        """
        size, most = len(self.text.encode()), limits.in_force.max_queue_metadata
        if size > most:
            raise InvalidRequest(f'options must not exceed {most} bytes; these have {size}.')
        for name, within in RANGES.items():
            _check_number(name, self._value(name), within)
        _check_secret(self._value('_secret'))
        retry_policy.check(self._value('_retry_policy'))
        _check_dead_letter_queue(self._value('_dead_letter_queue'))
        if not isinstance(self._value('post_data'), str | None):
            raise InvalidRequest('post_data must be a text.')
        _check_headers(self._value('post_headers'))

    def _value(self, name: str) -> Any:
        raw = self._members.get(name)
        return None if raw is None else msgspec.json.decode(raw)

    @cached_property
    def _headers(self) -> dict[str, Any]:
        headers = self._value('post_headers')
        return headers if isinstance(headers, dict) else {}

    def _with_headers(self, headers: dict[str, Any]) -> 'Options':
        return Options(_text_of({**self._members, 'post_headers': headers}))


_parse_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _text_of(members: dict[str, Any]) -> str:
    return msgspec.json.encode(members).decode()


def _check_number(name: str, value: Any, within: limits.Range) -> None:
    if value is None:
        return
    if type(value) is not int:
        raise InvalidRequest(f'{name} must be an integer.')
    within.check(name, value)


def _check_secret(secret: Any) -> None:
    if secret is None:
        return
    if not isinstance(secret, str):
        raise InvalidRequest('_secret must be a text.')
    signatures.check_secret(secret)


def _check_dead_letter_queue(name: Any) -> None:
    if name is not None and not (isinstance(name, str) and limits.in_force.is_queue_name(name)):
        raise InvalidRequest(
            f'_dead_letter_queue must be the name of a queue: {limits.in_force.form_of_names}.'
        )


def _check_headers(headers: Any) -> None:
    if headers is None:
        return
    if not isinstance(headers, dict):
        raise InvalidRequest('post_headers must be an object.')
    most, most_bytes = limits.in_force.max_post_headers, limits.in_force.max_post_headers_size
    if len(headers) > most:
        raise InvalidRequest(f'post_headers must not have more than {most} headers.')
    for name, value in headers.items():
        _check_header(name, value)
    if len({name.lower() for name in headers}) < len(headers):
        raise InvalidRequest('post_headers must not have a header twice.')
    if sum(len(name) + len(value) for name, value in headers.items()) > most_bytes:
        raise InvalidRequest(f'post_headers must not exceed {most_bytes} bytes.')


def _check_header(name: str, value: Any) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise InvalidRequest(f'post_headers: {name[:80]!r} cannot be the name of a header.')
    lower = name.lower()
    if lower in _OUR_HEADERS or lower.startswith(_OUR_PREFIXES):
        raise InvalidRequest(f'post_headers: the service sets {name[:80]} itself.')
    if not (isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
        raise InvalidRequest(
            f'post_headers: the value of {name[:80]} must be a text of printable ASCII characters.'
        )


def _is_hidden(header: str) -> bool:
    return header.lower() == _HIDDEN_HEADER
