"""AwsJson 1.0: how today's clients of SQS write a request, and read an answer.

The operation's name stands in the header ``X-Amz-Target``, its members in a JSON object in the body. An
answer is a JSON object; an error names itself there (``__type``) and in a header.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from marconi_api.controllers.sqs.failures import names_of
from marconi_api.errors import MarconiError
from marconi_api.wire.documents import struct_of
from marconi_api.wire.failures import InvalidBody, MethodNotAllowed
from marconi_api.wire.replies import RETRY_AFTER, Reply, json_reply
from marconi_api.wire.requests import Request

CONTENT_TYPE = 'application/x-amz-json-1.0'

#: What stands before the name of an operation in the header.
TARGET = 'AmazonSQS.'

#: The header with the code of an error, and whether the client or the service made the mistake.
QUERY_ERROR = 'x-amzn-query-error'

#: Bytes of a body, at most. A batch has 1 MiB of messages; a client may write each of their characters
#: as an escape of six bytes, which takes three bytes for each byte of them in UTF-8, or as base64.
LONGEST_BODY = 4 * 1024 * 1024


def reader(datatype: Any) -> Callable[[Request], Any]:
    """A function that reads the body of a request as a document; a member that is absent is None.

    A number may be written as a text. The function raises :class:`InvalidBody` if the body is not a JSON
    object, or a member has another type.

    :param datatype: one of the documents of ``types.py``
    """
    parse = msgspec.json.Decoder(struct_of(datatype), strict=False).decode

    def read(request: Request) -> Any:
        text = request.read_text(LONGEST_BODY) if request.content_size else '{}'
        try:
            return parse(text)
        except msgspec.ValidationError as error:
            raise InvalidBody(f'The body does not have the expected shape: {error}.') from None
        except msgspec.DecodeError as error:
            raise InvalidBody(f'The body is not valid JSON: {error}.') from None

    return read


def reply(result: Mapping[str, Any] | None) -> Reply:
    """The answer of an operation; its members that are None are left out."""
    shown = {name: value for name, value in (result or {}).items() if value is not None}
    return json_reply(shown, content_type=CONTENT_TYPE)


def error_reply(error: MarconiError, environ: Mapping[str, Any]) -> Reply:
    """An error, under both of its names."""
    names = names_of(error)
    whose = 'Sender' if names.is_of_the_client else 'Receiver'
    headers = [(QUERY_ERROR, f'{names.code};{whose}'), *error.headers]
    if isinstance(error, MethodNotAllowed):
        headers.append(('Allow', ', '.join(error.allowed)))
    if names.status == 503:
        headers.append(RETRY_AFTER)
    document = {
        '__type': f'com.amazonaws.sqs#{names.shape}',
        'message': str(error) or error.title,
    }
    return json_reply(document, names.status, *headers, content_type=CONTENT_TYPE)
