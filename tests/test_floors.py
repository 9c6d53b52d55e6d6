"""The floors of the house: imports go down only (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT

#: From the top; what stands in one line may import one another.
FLOORS = (
    'marconi_api.commands',
    'marconi_api.app',
    'marconi_api.processes',
    'marconi_api.controllers',
    'marconi_api.wire',
    'marconi_api.model',
    'marconi_api.webhooks',
    'marconi_api.policy',
    'marconi_api.limits',
    'marconi_api.errors',
)

FILES = sorted((CHECKOUT / 'marconi_api').rglob('*.py'))


def name_of(path: Path) -> str:
    parts = path.relative_to(CHECKOUT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {name_of(path): path for path in FILES}


def imports_of(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, in functions, too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f'{node.module}.{alias.name}'
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floor_of(module: str) -> int:
    return next(
        place
        for place, floor in enumerate(FLOORS)
        if module == floor or module.startswith(f'{floor}.')
    )


@pytest.mark.parametrize('module', sorted(set(MODULES) - {'marconi_api'}))
def test_a_module_imports_nothing_from_a_floor_above(module: str) -> None:
    ours = [name for name in imports_of(module) if name in MODULES and name != 'marconi_api']

    assert [name for name in ours if floor_of(name) < floor_of(module)] == []


def test_wire_knows_no_queue() -> None:
    for module in MODULES:
        if module.startswith('marconi_api.wire'):
            assert not [name for name in imports_of(module) if name.startswith('marconi_api.model')]


def test_imports_have_no_circle() -> None:
    """A package is not its own part: what it imports for others to find counts as its own."""
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, ' -> '.join((*path, module))
        if module not in done:
            for name in imports_of(module):
                if name in MODULES and name != module and not module.startswith(f'{name}.'):
                    visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())
