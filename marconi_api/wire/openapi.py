"""The document at ``/openapi.json``: what the table of resources says of itself, as OpenAPI 3.1.

Nothing is described twice. Paths and methods come from the table. What an action reads and replies, and
its errors, come from its ``expose``. Headers come from the door's hooks, ranges from its limits, statuses
and titles from ``errors``, and prose from the first line of a docstring. This module only says what each
name means, which is the same in all versions.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import singledispatch
from http import HTTPStatus
from typing import Any

from wsme import types as wtypes

from marconi_api import limits
from marconi_api.errors import (
    InvalidRequest,
    MarconiError,
    NotAuthorized,
    QuotaExceeded,
    RateExceeded,
    StorageUnavailable,
)
from marconi_api.policy import ROLES
from marconi_api.wire.actions import Content, Declaration
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.doors import Placeholder, alternatives
from marconi_api.wire.failures import (
    InvalidBody,
    InvalidCredential,
    InvalidParameter,
    MissingHeader,
    NoCredential,
    NotYourProject,
    Overloaded,
    TooManyFailures,
    TooManyWaiters,
    WrongContentType,
)
from marconi_api.wire.replies import JSON, RETRY_AFTER
from marconi_api.wire.routes import Resource
from marconi_api.wire.values import (
    BooleanParameter,
    Integer,
    IntegerParameter,
    Json,
    ListOf,
    ListParameter,
    Natural,
    NullableBoolean,
    NullableInteger,
    NullableString,
    OtherParameters,
    Parameter,
    String,
    TextParameter,
    WordParameter,
)
from marconi_api.wire.waiting import EVENT_STREAM

#: The meaning of each name in paths, queries and headers.
GLOSSARY = {
    'queue': "The queue's name.",
    'message': "The message's id.",
    'claim': "The claim's id.",
    'subscription': "The subscription's id.",
    'delivery': "The delivery's id.",
    'redrive': 'The id of a redrive.',
    'token': "The token's id, which is the part between `mrc_` and the next underscore.",
    'marker': 'The page starts after it. The link `next` of a page has the marker for the next.',
    'limit': 'How many entries the reply has at most.',
    'detailed': 'Whether to show the metadata of each queue.',
    'name': 'Only queues whose names contain this text.',
    'with_count': 'Whether to count all queues of the project.',
    'filter': 'Any other parameter: only queues whose metadata has this member with this value.',
    'echo': 'Whether to show messages that the same `Client-ID` posted. With `state` the default is true.',
    'include_claimed': 'Whether to show messages that are claimed.',
    'include_delayed': 'Whether to show messages whose delay is not over.',
    'state': 'Only messages, or deliveries, in this state.',
    'ids': 'The ids of messages, separated by commas.',
    'pop': 'How many ready messages to delete and return, instead of `ids`.',
    'claim_id': 'The claim that holds the message.',
    'Client-ID': 'The client: a UUID, in any spelling, that a program makes up for itself.',
    'Idempotency-Key': 'A name that the client makes up for this request, such as a UUID, in order '
    'to send the request again without having it done twice.',
    'X-Project-Id': 'The project (tenant) to which queues belong.',
    'X-Auth-Token': 'The same token, for clients that cannot send `Authorization`.',
    'X-Roles': 'The roles of the client, separated by commas. The proxy in front sets them.',
    'URL-Signature': 'The `signature` of a grant. Send all four headers `URL-...`, or none.',
    'URL-Expires': 'The `expires` of the grant.',
    'URL-Methods': 'The `methods` of the grant, joined by commas.',
    'URL-Paths': 'The `paths` of the grant, joined by commas.',
    'Location': 'The path of what was made or changed.',
    'Content-Location': 'The path and query that the reply was read from.',
    'Cache-Control': 'How long the reply may be kept.',
    'Last-Event-ID': 'The message after which a stream begins, instead of `marker`.',
    'X-Accel-Buffering': '`no`, in the head of a stream: nginx passes on each event at once.',
    'wait': 'For how many seconds the request may wait for messages if there are none.',
    'Prefer': '`wait=SECONDS`: the same; lowered to what is allowed.',
    'Preference-Applied': '`wait=SECONDS`: for how long the request was ready to wait.',
    'traceparent': 'The trace of which the post is a part, as W3C Trace Context has it. The messages '
    'keep it; one that is not well formed is ignored.',
    'Message-Traceparent': 'The traces of those messages in the reply that were posted with one: '
    '`ID=TRACEPARENT`, separated by commas.',
    'Vary': 'The request headers on which the form of the reply depends.',
    'Retry-After': 'After how many seconds to try again.',
    'WWW-Authenticate': 'How to send a credential.',
    'RateLimit': 'What is left of the rate, if it is one, and in how many seconds there is more.',
    'RateLimit-Policy': 'The rate that the project exceeds, if it is one.',
}

_ABOUT = """A message queue service: versions 1, 1.1 and 2 of OpenStack's messaging API.

A path may end with a slash. All paths answer OPTIONS with the methods that they offer, in the
header Allow, and other methods with 405. A path that is not here is answered with 404."""

Schema = dict[str, Any]


def describe(resources: Mapping[str, Resource], version: str) -> Schema:
    """The OpenAPI document for a table of resources.

    :param version: the service's
    """
    components = Components()
    paths: dict[str, Schema] = defaultdict(dict)
    for path, resource in resources.items():
        if not resource.door.is_described:
            continue
        for method, action in resource.actions.items():
            if action.declaration.replies is not None:
                operation = Operation(path, method, resource, components)
                paths[path][method.lower()] = operation.describe()
    return {
        'openapi': '3.1.0',
        'info': {'title': 'Marconi', 'version': version, 'description': _ABOUT},
        'servers': [{'url': '/'}],
        'paths': paths,
        'components': components.sections,
    }


class Components:
    """The section ``components``: what operations have in common, once, under its name."""

    def __init__(self) -> None:
        self.sections: dict[str, dict[str, Schema]] = defaultdict(dict)

    def refer(self, section: str, name: str, component: Schema) -> Schema:
        """A reference to ``component``."""
        known = self.sections[section].setdefault(name, component)
        assert known == component, f'two different {section} are called {name}'
        return {'$ref': f'#/components/{section}/{name}'}

    def schema(self, datatype: Any, is_sent: bool, within: limits.Limits) -> Schema:
        """The schema of a document.

        :param is_sent: whether clients send it: they may add members, which are ignored
        :param within: the limits of its numbers
        """
        if isinstance(datatype, tuple):
            return {'anyOf': [self.schema(one, is_sent, within) for one in datatype]}
        if isinstance(datatype, list | wtypes.ArrayType):
            [element] = datatype if isinstance(datatype, list) else [datatype.item_type]
            return {'type': 'array', 'items': self.schema(element, is_sent, within)}
        if isinstance(datatype, ListOf):
            list_schema = self.schema([datatype.element], is_sent, within)
            most = {} if datatype.at_most is None else {'maxItems': datatype.at_most}
            return {**list_schema, 'minItems': datatype.at_least, **most}
        if inspect.isclass(datatype) and issubclass(datatype, wtypes.Base):
            name = _component_name(datatype)
            return self.refer('schemas', name, self._object(datatype, is_sent, within))
        if datatype is JsonObject:
            return {'type': 'object'}
        if datatype is bool:
            return {'type': 'boolean'}
        return schema_of(datatype, within)

    def _object(self, datatype: type[wtypes.Base], is_sent: bool, within: limits.Limits) -> Schema:
        properties, required = {}, []
        for attribute in datatype._wsme_attributes:
            schema = self.schema(attribute.datatype, is_sent, within)
            if attribute.default not in (wtypes.Unset, None):
                schema = {**schema, 'default': attribute.default}
            if attribute.mandatory or getattr(attribute.datatype, 'at_least', 0):
                # A member that must be there has no default.
                schema.pop('default', None)
                required.append(attribute.name)
            properties[attribute.name] = schema
        shape: Schema = {
            'type': 'object',
            'description': said_of(datatype),
            'properties': properties,
        }
        if required:
            shape['required'] = required
        return shape if is_sent else {**shape, 'additionalProperties': False}


class Operation:
    """One action, as the document shows it."""

    def __init__(self, path: str, method: str, resource: Resource, components: Components) -> None:
        self._path = path
        self._method = method
        self._resource = resource
        self._limits = resource.door.limits_in_force
        self._components = components
        self._action: Any = resource.actions[method]
        self._declared: Declaration = self._action.declaration

    def describe(self) -> Schema:
        """The whole."""
        version = self._path.split('/')[1]
        operation: Schema = {
            'operationId': f'{self._method.lower()}{re.sub("[^a-z0-9]+", "_", self._path)}'.strip(
                '_'
            ),
            'summary': said_of(self._action),
            'tags': [version if re.match(r'v\d', version) else 'service'],
            'parameters': [*self._in_path(), *self._in_headers(), *self._in_query()],
            'responses': self._responses(),
        }
        if (body := self._body()) is not None:
            operation['requestBody'] = body
        return {**operation, **self._access()}

    # ------------------------------------------------------------ who may

    def _access(self) -> Schema:
        """The roles each of which may do it, and the policy's actions for each form of the request."""
        if self._is_open():
            return {'security': []}
        roles = sorted(set.union(*(self._roles(names) for names in self._alternatives)))
        # Without an entry the operation would read as open to all.
        ways = [{name: [role]} for name in self._token_schemes() for role in roles or ['nobody']]
        credentials = list(self._of_hooks('credentials'))
        for name in credentials:
            self._header_scheme(name)
        return {
            'description': '\n'.join(
                f'* `{"`, `".join(names)}`: {", ".join(sorted(self._roles(names))) or "nobody"}.'
                for names in self._alternatives
            ),
            'security': [*ways, {name: [] for name in credentials}] if credentials else ways,
        }

    @property
    def _alternatives(self) -> Sequence[tuple[str, ...]]:
        return alternatives(self._resource.names[self._method])

    def _is_open(self) -> bool:
        policy = self._resource.door.policy
        return all(
            policy.roles_that_may(action) is None
            for names in self._alternatives
            for action in names
        )

    def _roles(self, names: Iterable[str]) -> set[str]:
        """The roles of a project that may do all of these actions."""
        policy = self._resource.door.policy
        allowed = [policy.roles_that_may(action) for action in names]
        return {role for role in ROLES if all(some is None or role in some for some in allowed)}

    def _token_schemes(self) -> Iterator[str]:
        yield 'Authorization'
        self._components.refer('securitySchemes', 'Authorization', _BEARER)
        yield 'X-Auth-Token'
        self._header_scheme('X-Auth-Token')

    def _header_scheme(self, name: str) -> None:
        self._components.refer(
            'securitySchemes',
            name,
            {'type': 'apiKey', 'in': 'header', 'name': name, 'description': meaning_of(name)},
        )

    # ------------------------------------------------------------ what it reads

    def _in_path(self) -> Iterator[Schema]:
        for name in re.findall(r'{(\w+)}', self._path):
            schema = dict(self._resource.placeholders.get(name, _ANY_TEXT).schema)
            yield self._common_parameter(name, 'path', schema, required=True)

    def _in_headers(self) -> Iterator[Schema]:
        for hook in self._resource.door.hooks:
            for name in hook.headers:
                required = hook.required or (name == 'Client-ID' and self._declared.needs_client_id)
                yield self._header(name, required)
        for name in self._declared.by_hand.headers:
            yield self._header(name, required=False)
        if self._declared.waits:
            yield self._header('Prefer', required=False)

    def _header(self, name: str, required: bool) -> Schema:
        schema: Schema = {'type': 'string'}
        if name == 'Client-ID':
            schema['format'] = 'uuid'
        if name == 'X-Project-Id':
            schema.update(minLength=1, maxLength=self._limits.max_project_length)
        return self._common_parameter(name, 'header', schema, required)

    def _common_parameter(self, name: str, place: str, schema: Schema, required: bool) -> Schema:
        parameter = {
            'name': name,
            'in': place,
            'required': required,
            'description': meaning_of(name),
            'schema': schema,
        }
        kind = '' if required else 'optional-'
        return self._components.refer('parameters', f'{kind}{name}', parameter)

    def _query(self) -> dict[str, Parameter]:
        query = self._own(self._declared.by_hand.query) or {}
        return {**self._declared.query, **query}

    def _in_query(self) -> Iterator[Schema]:
        for name, datatype in self._query().items():
            parameter: Schema = {
                'name': name,
                'in': 'query',
                'description': meaning_of(name),
                'schema': schema_of(datatype, self._limits),
            }
            if isinstance(datatype, ListParameter):
                parameter.update(explode=False, required=datatype.required)
            yield parameter

    def _body(self) -> Schema | None:
        datatype = self._body_type()
        if datatype is None:
            return None
        content = {'schema': self._components.schema(datatype, is_sent=True, within=self._limits)}
        most = getattr(self._limits, self._declared.at_most)
        return {
            'required': not self._declared.body_is_optional,
            'description': f'At most {most} bytes.',
            'content': {self._declared.media_type or JSON: content},
        }

    def _body_type(self) -> Any:
        by_hand = self._own(self._declared.by_hand.body)
        return self._declared.body if by_hand is None else by_hand

    def _own(self, declared: Any) -> Any:
        if isinstance(declared, str):
            return getattr(self._resource.controller, declared)
        return declared

    def _of_hooks(self, name: str) -> Iterator[Any]:
        for hook in self._resource.door.hooks:
            yield from getattr(hook, name)

    # ------------------------------------------------------------ what it replies

    def _responses(self) -> dict[str, Schema]:
        responses = {
            status: self._reply(status, content)
            for status, content in (self._declared.replies or {}).items()
        }
        failures: dict[int, list[Failure]] = defaultdict(list)
        for failure in self._failures():
            failures[failure.status].append(failure)
        for status, ways in failures.items():
            assert status not in responses, (
                f'{self._method} {self._path} declares {status} as a reply and as a failure'
            )
            responses[status] = self._failure(ways)
        return {str(status): responses[status] for status in sorted(responses)}

    def _reply(self, status: int, content: Content) -> Schema:
        response: Schema = {'description': HTTPStatus(status).phrase}
        if content.headers or content.at_times:
            response['headers'] = {
                **{name: self._reply_header(name) for name in content.headers},
                **{name: self._reply_header(name, is_required=False) for name in content.at_times},
            }
        if self._declared.waits:
            applied = self._reply_header('Preference-Applied', is_required=False)
            response.setdefault('headers', {})['Preference-Applied'] = applied
        if content.document is not None and self._method != 'HEAD':
            schema = self._components.schema(
                self._own(content.document), is_sent=False, within=self._limits
            )
            response['content'] = {content.media_type: {'schema': schema}}
            if content.or_stream:
                response['content'][EVENT_STREAM] = {'schema': _STREAM}
        return response

    def _failures(self) -> Iterable['Failure']:
        query, body = self._query().values(), self._body_type()
        failures = [*self._of_hooks('raises'), *self._declared.raises]
        for placeholder in self._resource.placeholders.values():
            failures += placeholder.raises
        if not all(isinstance(parameter, TextParameter) for parameter in query):
            failures += [InvalidParameter, InvalidRequest]
        if not self._is_open():
            # The service's mode of access and its limits decide which of them it can reply.
            failures += [NoCredential, InvalidCredential, NotYourProject]
            failures += [TooManyFailures, RateExceeded]
        if any(set(ROLES) - self._roles(names) for names in self._alternatives):
            failures.append(NotAuthorized)
        if self._declared.needs_client_id:
            failures.append(MissingHeader)
        if body is not None:
            failures += [InvalidBody, InvalidRequest]
        if self._declared.media_type:
            failures.append(WrongContentType(self._declared.media_type))
        if self._declared.needs_storage:
            failures += [StorageUnavailable, Overloaded]
        if self._declared.waits:
            failures += [TooManyWaiters, QuotaExceeded]
        return dict.fromkeys(failures)

    def _failure(self, ways: list['Failure']) -> Schema:
        # Several errors of a status may have the same title, such as those of a 404.
        described: dict[str, list[str]] = defaultdict(list)
        for way in ways:
            described[way.title].append(said_of(way if inspect.isclass(way) else type(way)))
        error = self._components.refer('schemas', 'Error', _ERROR)
        title = {'properties': {'title': {'enum': list(described)}}}
        response = {
            'description': '\n'.join(
                f'* *{title}*: {" ".join(dict.fromkeys(said))}' for title, said in described.items()
            ),
            'headers': {
                name: self._reply_header(name, is_required)
                for name, is_required in _headers_of(ways[0].status).items()
            },
            'content': {JSON: {'schema': {'allOf': [error, title]}}},
        }
        if self._method == 'HEAD':
            del response['content']
            return response
        if len(ways) > 1:
            return response
        [way] = ways
        name = (way if inspect.isclass(way) else type(way)).__name__
        return self._components.refer('responses', name, response)

    def _reply_header(self, name: str, is_required: bool = True) -> Schema:
        header = {
            'description': meaning_of(name),
            'required': is_required,
            'schema': {'type': 'string'},
        }
        kind = '' if is_required else 'optional-'
        return self._components.refer('headers', f'{kind}{name}', header)


def _headers_of(status: int) -> dict[str, bool]:
    """The headers of an error's reply beyond those of its body, and whether it always has them."""
    return {'Vary': True, **_HEADERS_OF_FAILURES.get(status, {})}


_HEADERS_OF_FAILURES = {
    401: {'WWW-Authenticate': True},
    429: {RETRY_AFTER[0]: True, 'RateLimit': False, 'RateLimit-Policy': False},
    503: {RETRY_AFTER[0]: True},
}

#: A class of errors; or an error, where the title is its own.
Failure = type[MarconiError] | MarconiError

_ANY_TEXT = Placeholder()

_BEARER: Schema = {
    'type': 'http',
    'scheme': 'bearer',
    'description': 'A token that has one of these roles; where headers are believed, see `X-Roles`.',
}

_STREAM: Schema = {
    'type': 'string',
    'description': 'With `Accept: text/event-stream`: server-sent events as in the HTML standard, one for '
    "each message; `id` is the message's id, `event` is `message`, `data` is the message as in a page.",
}

_ERROR: Schema = {
    'type': 'object',
    'description': 'The body of every error.',
    'properties': {'title': {'type': 'string'}, 'description': {'type': 'string'}},
    'required': ['title'],
}


# ---------------------------------------------------------------- values


@singledispatch
def schema_of(datatype: object, within: limits.Limits) -> Schema:
    """The schema of a value in a document or in a query, by its type in ``wire``.

    :param within: the limits of its numbers
    """
    raise TypeError(f'say in openapi.schema_of what a {datatype!r} is')


@schema_of.register
def _(datatype: Integer, within: limits.Limits) -> Schema:
    return {'type': 'integer', **_range_named(datatype.within, within)}


@schema_of.register
def _(datatype: NullableInteger, within: limits.Limits) -> Schema:
    return {'type': ['integer', 'null'], **_range_named(datatype.within, within)}


@schema_of.register
def _(datatype: Natural, within: limits.Limits) -> Schema:
    return {'type': 'integer', 'minimum': 0}


@schema_of.register
def _(datatype: NullableBoolean, within: limits.Limits) -> Schema:
    return {'type': ['boolean', 'null']}


@schema_of.register
def _(datatype: String, within: limits.Limits) -> Schema:
    return {'type': 'string', **datatype.schema}


@schema_of.register
def _(datatype: NullableString, within: limits.Limits) -> Schema:
    return {'type': ['string', 'null']}


@schema_of.register
def _(datatype: Json, within: limits.Limits) -> Schema:
    return dict(datatype.schema)


@schema_of.register
def _(datatype: TextParameter, within: limits.Limits) -> Schema:
    return {'type': 'string'}


@schema_of.register
def _(datatype: IntegerParameter, within: limits.Limits) -> Schema:
    return {'type': 'integer', **_range_named(datatype.within, within)}


@schema_of.register
def _(datatype: WordParameter, within: limits.Limits) -> Schema:
    return {'enum': list(datatype.words)}


@schema_of.register
def _(datatype: BooleanParameter, within: limits.Limits) -> Schema:
    return {'type': 'boolean', 'default': False}


@schema_of.register
def _(datatype: ListParameter, within: limits.Limits) -> Schema:
    number = _range(datatype.within, within)
    return {
        'type': 'array',
        'items': {'type': 'string'},
        'minItems': number.least,
        'maxItems': number.most,
    }


@schema_of.register
def _(datatype: OtherParameters, within: limits.Limits) -> Schema:
    return {'type': 'object', 'additionalProperties': {'type': 'string'}}


def _range(name: str, within: limits.Limits) -> limits.Range:
    found = getattr(within, name)
    assert isinstance(found, limits.Range)
    return found


def _range_named(name: str | None, within: limits.Limits) -> Schema:
    if name is None:
        return {}
    found = _range(name, within)
    default = {} if found.default is None else {'default': found.default}
    return {'minimum': found.least, 'maximum': found.most, **default}


# ---------------------------------------------------------------- names and prose


def said_of(thing: Any) -> str:
    """The first line of a docstring, without the page in docs/ that it cites."""
    first, _, _ = inspect.getdoc(thing).partition('\n\n')  # type: ignore[union-attr]
    line = re.sub(r' \(docs/protocol-v[^)]*\)', '', first.replace('\n', ' '))
    return line.replace('``', '`')


def meaning_of(name: str) -> str:
    """What a parameter or a header is, in all versions."""
    if name not in GLOSSARY:
        raise LookupError(f'say in openapi.GLOSSARY what {name} means')
    return GLOSSARY[name]


def _component_name(datatype: type) -> str:
    """``v1.1.Message`` for a type of version 1.1, ``Link`` for one of them all."""
    found = re.search(r'\.(v\d+(_\d+)?)\.', datatype.__module__)
    version = f'{found[1].replace("_", ".")}.' if found else ''
    return f'{version}{datatype.__name__}'
