"""What a process remembers of its clients stays small, whatever they send.

A cache is bounded by the number of its entries; each entry must then be small, too.
"""

import gc
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from functools import _lru_cache_wrapper
from importlib import import_module
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pytest
from webtest import TestApp

import marconi_api
from marconi_api import model

from .client import CLIENT_ID, PROJECT, LaterApi

#: Bytes of an entry, with all that it alone refers to. The largest is that of the marks.
MOST_IN_AN_ENTRY = 4096

#: The caches that are bounded by what there is in the program: types of documents, files, and what is
#: done once in a process.
OF_THE_PROGRAM = {
    *('document_reader', 'struct_of'),
    *('_templates', '_content', 'link_to', '_tls'),
    *('load', '_expect_a_queue'),
}

#: What belongs to the program, and not to a cache that refers to it.
PROGRAM = (type, FunctionType, MethodType, ModuleType)

CLIENTS = 20


def function_caches() -> Iterator[tuple[str, Any]]:
    """Every ``lru_cache`` of the package, by its name; of an action's or an application's, too."""
    for found in pkgutil.walk_packages(marconi_api.__path__, 'marconi_api.'):
        # It makes the application when it is loaded.
        if found.name != 'marconi_api.processes.wsgi':
            import_module(found.name)
    for number, thing in enumerate(gc.get_objects()):
        if isinstance(thing, _lru_cache_wrapper) and thing.__module__.startswith('marconi_api'):
            is_inner = '<locals>' in thing.__qualname__ or thing.__name__ == '_walk'
            yield f'{thing.__name__} {number}' if is_inner else thing.__name__, thing


@pytest.fixture
def remembered(app: TestApp) -> dict[str, tuple[Any, int]]:
    """Each cache after hostile requests, beside the number of its entries."""
    functions = dict(function_caches())
    for cache in functions.values():
        cache.cache_clear()
    model.store.messages._attributes._known.clear()
    for number in range(CLIENTS):
        send_what_is_long(LaterApi(app, '/v2'), number)
    caches: dict[str, tuple[Any, int]] = {
        name: (
            [part for part in gc.get_referents(cache) if not isinstance(part, PROGRAM)],
            cache.cache_info().currsize,
        )
        for name, cache in functions.items()
        if name not in OF_THE_PROGRAM
    }
    known = {'messages': model.store.messages._attributes, 'claims': model.store.claims._attributes}
    for name, attributes in known.items():
        caches[f'attributes of {name}'] = (attributes._known, len(attributes._known))
    memories = model.store.low_water_marks._memories
    caches['marks'] = (memories, len(memories))
    return caches


def send_what_is_long(api: LaterApi, number: int) -> None:
    """Requests whose every part is as long as a client can make it."""
    path = f'/v2/queues/{number:064}'
    long = f'{number}' + 'x' * 60_000
    wide = long[:-1] + '\U0001f600'
    project = f'{number:0256}'
    for name in (long, wide):
        api.put(path, {'_dead_letter_queue': name, '_max_claim_count': 2, 'a': wide})
    api.put(path, {'_dead_letter_queue': 'x' * 64, '_max_claim_count': 2, 'a': wide})
    # As a dump or an older release may have left it.
    with model.store.database.transaction() as run:
        metadata = f'{{"_dead_letter_queue": "{wide}", "_max_claim_count": {10**100}}}'
        run('UPDATE queues SET metadata = %(metadata)s', {'metadata': metadata})
    api.post(f'{path}/messages', {'messages': [{'body': long}]})
    api.post(f'{path}/claims')
    for sent in (
        {'client_id': '{' * 9000 + CLIENT_ID + '}' * number},
        {'headers': {'Accept': 'application/json' + f', text/{number}' * 1000}},
        {'headers': {'Accept': 'application/json;' + 'q=1;' * 45 + f'a={number}'}},
        {'headers': {'X-Roles': long}},
        {'project': project},
    ):
        api.get(f'{path}/messages', **{'project': PROJECT, **sent})
    for query in (long, '&'.join(f'{letter}={number}' for letter in 'abcdefghijklmnopqrst')):
        api.get(f'/v2/queues?{query}')
        api.get(f'{path}/messages?marker={query}')
        api.get(f'/v2/messages?queue={query}')


def test_an_entry_is_small_whatever_clients_send(remembered: dict[str, tuple[Any, int]]) -> None:
    sizes = {
        name: size_of([cache]) // (entries + 1) for name, (cache, entries) in remembered.items()
    }

    assert {name: size for name, size in sizes.items() if size > MOST_IN_AN_ENTRY} == {}
    filled = {name for name, (_, entries) in remembered.items() if entries >= CLIENTS}
    assert filled >= {'of', '_key', '_remembered_query', 'attributes of claims', 'marks'}
    assert {name.split()[0] for name in filled} >= {'_walk', 'read_text'}


def test_every_cache_has_a_bound(app: TestApp) -> None:
    functions = dict(function_caches())
    unbounded = {name for name, cache in functions.items() if cache.cache_info().maxsize is None}

    assert unbounded <= OF_THE_PROGRAM


def size_of(things: Iterable[Any]) -> int:
    """Bytes of things and of all that they refer to, short of the program itself."""
    seen: dict[int, Any] = {}
    left = list(things)
    while left:
        thing = left.pop()
        if id(thing) not in seen and not isinstance(thing, PROGRAM):
            seen[id(thing)] = thing
            left += gc.get_referents(thing)
    return sum(map(sys.getsizeof, seen.values()))
