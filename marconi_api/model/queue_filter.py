"""Which queues a list shows: by a part of the name, and by members of the metadata."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_INTEGER = re.compile(r'-?[0-9]{1,19}', re.ASCII)

# In no JSON text without a backslash, and in no name.
_NOWHERE = '\\'


@dataclass(frozen=True)
class QueueFilter:
    """What a queue must be like: its name holds ``name``, its metadata has these values.

    ``metadata``: by the name of a member of the object itself. A value is an integer if it can
    be one, else a string.
    """

    name: str = ''
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.name or self.metadata)

    def lets_through(self, name: str, metadata: str) -> bool:
        """Whether it lets a queue with this name and this text of a JSON object through."""
        if self.name not in name:
            return False
        members = json.loads(metadata) if self.metadata else {}
        return all(
            member in members and _is_meant(value, members[member])
            for member, value in self.metadata.items()
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of MAY_PASS."""
        quoted = [f'"{member}"' for member in self.metadata]
        quoted += [f'"{text}"' for text in self.metadata.values() if not _INTEGER.fullmatch(text)]
        return {'name_part': _searched(self.name), 'quoted': [*map(_searched, quoted)]}


@dataclass(frozen=True)
class DeadLettersTo(QueueFilter):
    """Lets those queues through whose dead letters go to the queue ``target``."""

    target: str = ''

    def lets_through(self, name: str, metadata: str) -> bool:
        """Whether dead letters of the queue go there."""
        members = json.loads(metadata)
        most = members.get('_max_claim_count')
        return (
            members.get('_dead_letter_queue') == self.target and isinstance(most, int) and most > 0
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of MAY_PASS."""
        return {'name_part': '', 'quoted': ['"_dead_letter_queue"', f'"{self.target}"']}


#: The condition that a queue which a filter lets through meets for certain, and most others do
#: not. It looks at the text alone: PostgreSQL's json refuses some of what metadata may hold,
#: such as \u0000, and its numbers are not ours. Where there is a backslash, a string may be
#: written in other ways.
MAY_PASS = """(
    strpos(name, %(name_part)s) > 0
    AND (strpos(metadata, '\\') > 0
         OR NOT EXISTS (SELECT FROM unnest(%(quoted)s::text[]) AS string
                         WHERE strpos(metadata, string) = 0)))"""


def _is_meant(sent: str, value: Any) -> bool:
    """Whether the text of a query means a value."""
    if _INTEGER.fullmatch(sent):
        return not isinstance(value, bool) and bool(int(sent) == value)
    return bool(sent == value)


def _searched(text: str) -> str:
    # PostgreSQL's text holds neither a NUL nor half a surrogate pair; nor does JSON, unescaped.
    is_text = '\0' not in text and text.encode(errors='replace').decode() == text
    return text if is_text else _NOWHERE
