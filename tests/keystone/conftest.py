"""One Keystone for all tests of a file: it takes seconds to start."""

from collections.abc import Iterator

import pytest

from tests.keystone.running_keystone import Keystone, running_keystone, why_not


@pytest.fixture(scope='module')
def keystone() -> Iterator[Keystone]:
    """A real one; where it cannot be installed, its tests are skipped."""
    if reason := why_not():
        pytest.skip(reason)
    with running_keystone() as keystone:
        yield keystone
