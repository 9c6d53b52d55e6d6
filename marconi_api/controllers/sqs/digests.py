"""The digests by which clients check that a message arrived as it was sent."""

from collections.abc import Iterator, Mapping
from hashlib import md5

from marconi_api.controllers.sqs.message_attributes import BINARY, Attribute

# MD5 is what the clients compute; nothing rests on its strength.


def of_body(body: str) -> str:
    """The digest of a message's body."""
    return md5(body.encode(), usedforsecurity=False).hexdigest()


def of_attributes(attributes: Mapping[str, Attribute]) -> str | None:
    """The digest of attributes, in the order of their names; None if there are none."""
    if not attributes:
        return None
    return md5(b''.join(_parts(attributes)), usedforsecurity=False).hexdigest()


def _parts(attributes: Mapping[str, Attribute]) -> Iterator[bytes]:
    for name, attribute in sorted(attributes.items()):
        yield _measured(name.encode())
        yield _measured(attribute.data_type.encode())
        yield b'\2' if attribute.kind == BINARY else b'\1'
        yield _measured(attribute.value)


def _measured(content: bytes) -> bytes:
    return len(content).to_bytes(4, 'big') + content
