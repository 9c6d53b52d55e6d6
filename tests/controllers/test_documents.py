"""A type of document tells WSME the order of its members, which WSME would look up in its source."""

import subprocess
import sys

from wsme import types as wtypes

from marconi_api.wire.documents import Document

#: Imports all types while no source can be looked up.
_IMPORT_ALL = """
import wsme
import inspect
def refuse(*given): raise AssertionError(given)
inspect.getsourcelines = refuse
import marconi_api.controllers.root
"""


class Former(Document):
    """A document of a version."""

    second = wtypes.wsattr(str)
    first = wtypes.wsattr(int, mandatory=True)


class Later(Former):
    """That of the next version, in which one member is another."""

    third = bool
    second = wtypes.wsattr(int)


def members(datatype: type) -> list[tuple[str, type]]:
    return [(member.key, member.datatype) for member in datatype._wsme_attributes]  # type: ignore[attr-defined]


def test_members_stand_in_the_order_of_their_class() -> None:
    assert members(Former) == [('second', str), ('first', int)]


def test_a_class_s_own_members_stand_before_those_it_inherits() -> None:
    assert members(Later) == [('third', bool), ('second', int), ('first', int)]


def test_no_type_of_document_is_looked_up_in_its_source() -> None:
    done = subprocess.run([sys.executable, '-c', _IMPORT_ALL], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
