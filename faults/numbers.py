"""The number of a message, which its producer makes up and which is in its body.

So a message is known by what it carries, whatever id the service gives it. The messages of one post
have numbers that follow one another.
"""

import hashlib
from typing import Any

import msgspec

_PLACE_BITS = 8
_POST_BITS = 28
#: Messages of one post, at most.
MOST_IN_A_POST = 2**_PLACE_BITS

_COPY_BITS = 2
#: The same of a post of which copies go to other queues.
MOST_IN_A_POST_WITH_COPIES = 1 << (_PLACE_BITS - _COPY_BITS)


def first_number(producer: int, post: int) -> int:
    """The number of the first message of a post."""
    return ((producer << _POST_BITS) + post) << _PLACE_BITS


def post_of(number: int) -> int:
    """What all messages of a post have in common."""
    return number >> _PLACE_BITS


def number_of_copy(number: int, copy: int) -> int:
    """The number of a message's copy in another queue, whose body is the same.

    :param copy: which copy it is, from 1 to 3; 0: the message itself
    """
    return number | copy * MOST_IN_A_POST_WITH_COPIES


def body_of(number: int) -> dict[str, Any]:
    """A body that has the number, and further bytes by which it is seen to be whole."""
    return {'number': number, 'more': _more(number)}


def number_in(body: Any) -> int | None:
    """The number of a body that somebody was given; None if the body is not one of ours."""
    if isinstance(body, str):
        # By SQS bodies are texts.
        return number_in(msgspec.json.decode(body)) if body.startswith('{') else None
    if not isinstance(body, dict) or not isinstance(number := body.get('number'), int):
        return None
    return number if body == body_of(number) else None


def _more(number: int) -> str:
    digest = hashlib.blake2b(number.to_bytes(8, 'big'), digest_size=16).hexdigest()
    # Most bodies are short; some are longer than a page of PostgreSQL.
    return digest * (300 if number % 97 == 0 else 1 + number % 4)
