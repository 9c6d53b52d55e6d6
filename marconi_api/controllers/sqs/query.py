"""The query protocol: how clients of SQS from before November 2023 write a request, and read an answer.

A request is a form, in the body or in the query of the URL: ``Action`` names the operation, and a member
of a list or a map has a name such as ``Attribute.1.Name``. An answer is XML. AWS's reference of SQS
describes it as "Making query API requests".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.sax.saxutils import escape

import msgspec

from marconi_api.controllers.sqs.addresses import PATH
from marconi_api.controllers.sqs.aws_json import LONGEST_BODY
from marconi_api.controllers.sqs.failures import QueueDoesNotExist, names_of
from marconi_api.controllers.sqs.message_attributes import FORBIDDEN
from marconi_api.errors import MarconiError, QueueNotFound
from marconi_api.wire import framing
from marconi_api.wire.documents import struct_of
from marconi_api.wire.doors import Naming
from marconi_api.wire.failures import InvalidBody, MethodNotAllowed
from marconi_api.wire.replies import RETRY_AFTER, Reply
from marconi_api.wire.requests import REQUEST_ID, Request

CONTENT_TYPE = 'text/xml'
NAMESPACE = 'http://queue.amazonaws.com/doc/2012-11-05/'

_FORM = 'application/x-www-form-urlencoded'
_ACTION = 'Action'

#: The operations whose answer has no result, not even an empty one.
WITHOUT_RESULT = frozenset(
    (
        *('DeleteQueue', 'SetQueueAttributes', 'PurgeQueue', 'DeleteMessage'),
        *('ChangeMessageVisibility', 'TagQueue', 'UntagQueue', 'AddPermission', 'RemovePermission'),
    )
)

# A batch of ten messages with ten attributes each has about 400 members; a queue may have 50 tags.
_MOST_MEMBERS = 2000
# SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringListValue.1 has seven.
_MOST_PARTS = 8

# What the members of lists are called in a request, and the list that they are in.
_LISTS = {
    'AttributeName': 'AttributeNames',
    'MessageSystemAttributeName': 'MessageSystemAttributeNames',
    'MessageAttributeName': 'MessageAttributeNames',
    'TagKey': 'TagKeys',
}
# The same of maps, with what their keys are called.
_MAPS = {
    'Attribute': ('Attributes', 'Name'),
    'MessageAttribute': ('MessageAttributes', 'Name'),
    'MessageSystemAttribute': ('MessageSystemAttributes', 'Name'),
    'Tag': ('Tags', 'Key'),
    'Tags': ('Tags', 'Key'),
}
_ENTRY = 'RequestEntry'

# What the members of lists and maps are called in an answer.
_SHOWN_LISTS = {
    'QueueUrls': 'QueueUrl',
    'queueUrls': 'QueueUrl',
    'Messages': 'Message',
    'Failed': 'BatchResultErrorEntry',
    'Successful': '{operation}ResultEntry',
    'Results': '{operation}ResultEntry',
}
_SHOWN_MAPS = {
    'Attributes': ('Attribute', 'Name'),
    'MessageAttributes': ('MessageAttribute', 'Name'),
    'Tags': ('Tag', 'Key'),
}

Tree = dict[str, Any]


class InForm(Naming):
    """The request is a form, for a path of SQS, and its member ``Action`` names the operation."""

    def is_in(self, environ: Mapping[str, Any]) -> bool:
        """Whether it is such a request."""
        method = environ['REQUEST_METHOD']
        if method == 'POST':
            is_form = environ.get('CONTENT_TYPE', '').startswith(_FORM)
        else:
            is_form = method == 'GET' and f'{_ACTION}=' in environ.get('QUERY_STRING', '')
        return is_form and PATH.fullmatch(framing.path_as_sent(environ)) is not None

    def name(self, request: Request) -> str:
        """The name of the operation; '' if there is none."""
        return members_of(request).get(_ACTION, '')


def members_of(request: Request) -> dict[str, str]:
    """The members of a request by their names, as they were sent.

    :raises InvalidBody: if they are not those of a form in UTF-8, or too many
    """
    environ = request.environ
    known: dict[str, str] | None = environ.get('marconi.sqs.form')
    if known is not None:
        return known
    try:
        if environ['REQUEST_METHOD'] == 'GET':
            text = environ.get('QUERY_STRING', '')
        else:
            text = request.read_content(LONGEST_BODY).decode()
        pairs = parse_qsl(
            text, keep_blank_values=True, errors='strict', max_num_fields=_MOST_MEMBERS
        )
    except ValueError:
        raise InvalidBody(
            f'The request must be a form in UTF-8 with {_MOST_MEMBERS} members at most.'
        ) from None
    environ['marconi.sqs.form'] = members = dict(pairs)
    return members


def reader(datatype: Any) -> Callable[[Request], Any]:
    """A function that reads a request as a document; a member that is absent is None.

    The function raises :class:`InvalidBody` if the members do not fit together, or one has another type.

    :param datatype: one of the documents of ``types.py``
    """
    struct = struct_of(datatype)

    def read(request: Request) -> Any:
        document = _document(_tree(members_of(request)))
        if 'Tags' in document:
            # CreateQueue writes it small.
            document['tags'] = document['Tags']
        try:
            return msgspec.convert(document, struct, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidBody(f'The request does not have the expected shape: {error}.') from None

    return read


def _tree(members: Mapping[str, str]) -> Tree:
    """The members by the parts of their names."""
    tree: Tree = {}
    for name, value in members.items():
        *above, last = name.split('.', _MOST_PARTS)
        node = tree
        for part in above:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise _does_not_fit(name)
        if last in node:
            raise _does_not_fit(name)
        node[last] = value
    return tree


def _document(tree: Tree) -> Tree:
    """The members of a request as AwsJson names them."""
    document: Tree = {}
    for name, value in tree.items():
        if name in _LISTS:
            document[_LISTS[name]] = _in_order(name, value)
        elif name in _MAPS:
            member, key = _MAPS[name]
            document[member] = dict(_entry(name, one, key) for one in _in_order(name, value))
        elif name.endswith(_ENTRY):
            document['Entries'] = [_document(_checked(name, one)) for one in _in_order(name, value)]
        else:
            document[name] = value
    return document


def _entry(name: str, tree: Any, key: str) -> tuple[str, Any]:
    found = _checked(name, tree).get(key)
    if not isinstance(found, str):
        raise InvalidBody(f'A member of {name[:80]} has no {key}.')
    return found, tree.get('Value', '')


def _in_order(name: str, tree: Any) -> list[Any]:
    """The members of a list, by the numbers that they are sent with."""
    numbered = _checked(name, tree)
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in numbered):
        raise InvalidBody(f'The members of {name[:80]} must have numbers, such as {name[:80]}.1.')
    return [numbered[number] for number in sorted(numbered, key=int)]


def _checked(name: str, tree: Any) -> Tree:
    if not isinstance(tree, dict):
        raise _does_not_fit(name)
    return tree


def _does_not_fit(name: str) -> InvalidBody:
    return InvalidBody(f'The member {name[:80]!r} does not fit to the others.')


def reply(operation: str, result: Mapping[str, Any] | None, environ: dict[str, Any]) -> Reply:
    """The answer of an operation; its members that are None are left out."""
    content = ''
    if operation not in WITHOUT_RESULT:
        inner = ''.join(_elements(operation, result or {}))
        content = f'<{operation}Result>{inner}</{operation}Result>'
    metadata = f'<ResponseMetadata>{_request_id(environ)}</ResponseMetadata>'
    return _xml(f'{operation}Response', content + metadata)


def error_reply(error: MarconiError, environ: dict[str, Any]) -> Reply:
    """An error, under the name that it has in this protocol."""
    names = names_of(error)
    headers = [*error.headers]
    if isinstance(error, MethodNotAllowed):
        headers.append(('Allow', ', '.join(error.allowed)))
    if names.status == 503:
        headers.append(RETRY_AFTER)
    message = str(error) or error.title
    if isinstance(error, QueueDoesNotExist | QueueNotFound):
        message = 'The specified queue does not exist for this wsdl version.'
    told = {
        'Type': 'Sender' if names.is_of_the_client else 'Receiver',
        'Code': names.code,
        'Message': message,
    }
    inner = ''.join(_element(name, text) for name, text in told.items())
    content = f'<Error>{inner}<Detail/></Error>{_request_id(environ)}'
    return _xml('ErrorResponse', content, names.status, headers)


def _request_id(environ: dict[str, Any]) -> str:
    # The header x-amzn-RequestId has the same, as it is kept.
    return _element('RequestId', environ.setdefault(REQUEST_ID, f'req-{uuid4()}'))


def _xml(
    root: str, content: str, status: int = 200, headers: Iterable[tuple[str, str]] = ()
) -> Reply:
    text = f'<?xml version="1.0"?><{root} xmlns="{NAMESPACE}">{content}</{root}>'
    body = text.encode()
    length = str(len(body))
    return Reply(
        status, body, (('Content-Type', CONTENT_TYPE), ('Content-Length', length), *headers)
    )


def _elements(operation: str, members: Mapping[str, Any]) -> Iterator[str]:
    """The elements of an object's members."""
    for name, value in members.items():
        if value is None:
            continue
        if name in _SHOWN_LISTS:
            shown = _SHOWN_LISTS[name].format(operation=operation)
            for one in value:
                yield _shown(operation, shown, one)
        elif name in _SHOWN_MAPS:
            shown, key = _SHOWN_MAPS[name]
            for one, told in value.items():
                inner = _element(key, one) + _shown(operation, 'Value', told)
                yield f'<{shown}>{inner}</{shown}>'
        else:
            yield _element(name, value)


def _shown(operation: str, name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f'<{name}>{"".join(_elements(operation, value))}</{name}>'
    return _element(name, value)


def _element(name: str, value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    # A message from another door may have characters that XML cannot have. A parser of XML would make a
    # line feed of a carriage return.
    text = escape(FORBIDDEN.sub('\ufffd', text), {'\r': '&#13;'})
    return f'<{name}>{text}</{name}>'
