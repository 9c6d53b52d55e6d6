"""How a JSON patch changes a queue's metadata (docs/protocol-v2.md, 5.4)."""

import re
from collections.abc import Sequence

import msgspec
from wsme.types import Unset

from marconi_api import limits
from marconi_api.controllers.openstack.v2.types import Operation
from marconi_api.errors import InvalidRequest, MetadataConflict
from marconi_api.model import attributes
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.failures import InvalidBody

_PATH = re.compile(r'/([^/]*)/([^/]+)')


def patched(metadata: str, operations: Sequence[Operation]) -> str:
    """The metadata after all operations, in their order; nothing is changed if one fails."""
    members = JsonObject(metadata).members
    for operation in operations:
        _apply(operation, members)
    changed = msgspec.json.encode(members)
    try:
        attributes.check(changed.decode())
    except InvalidRequest as error:
        raise InvalidBody(str(error)) from None
    if len(changed) > limits.in_force.max_queue_metadata:
        raise InvalidRequest(
            f'The metadata must not exceed {limits.in_force.max_queue_metadata} bytes; '
            f'with this change it would have {len(changed)}.'
        )
    return changed.decode()


def check(operations: Sequence[Operation]) -> None:
    """Refuse operations that can never be carried out, whatever the metadata."""
    for operation in operations:
        if operation.op not in ('add', 'replace', 'remove'):
            raise InvalidBody(f'op must be add, replace or remove, not {operation.op[:80]!r}.')
        _name(operation)
        if operation.op != 'remove' and operation.value is Unset:
            raise InvalidBody(f'value is missing in the operation {operation.op}.')


def _apply(operation: Operation, members: dict[str, msgspec.Raw]) -> None:
    name = _name(operation)
    if operation.op == 'add':
        members[name] = operation.value
    elif name in members:
        if operation.op == 'replace':
            members[name] = operation.value
        else:
            del members[name]
    elif name not in attributes.DEFAULTS:
        raise MetadataConflict(name)
    elif operation.op == 'replace':
        members[name] = operation.value


def _name(operation: Operation) -> str:
    """The member that an operation names: ``/metadata/NAME``."""
    found = _PATH.fullmatch(operation.path)
    # In Zaqar the first segment of a removal may be anything, and clients make use of that.
    if not found or (operation.op != 'remove' and found[1].lower() != 'metadata'):
        raise InvalidBody(f'path must be /metadata/NAME, not {operation.path[:80]!r}.')
    return found[2].replace('~1', '/').replace('~0', '~')
