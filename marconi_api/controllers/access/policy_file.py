"""The file ``access.policy_file``, by which an operator takes rights away from roles."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from marconi_api.policy import PolicyError, narrowed

# A line of YAML: an action and its rule, as the generators of oslo.policy write them.
_LINE = re.compile(r'"([^"]*)"\s*:\s+"([^"]*)"\s*(?:#.*)?')


def rules_of(path: str | None) -> Mapping[str, str]:
    """The rules in a file, by the names of actions; empty if ``path`` is None.

    :raises PolicyError: if it cannot be read
    """
    if path is None:
        return {}
    try:
        return parse(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f'{path} cannot be read: {error}') from None


def contradiction(path: str | None) -> str | None:
    """What is wrong with the file, in one line; None if nothing is."""
    try:
        narrowed(rules_of(path))
    except PolicyError as error:
        return f'access.policy_file: {error}'
    return None


def parse(text: str) -> Mapping[str, str]:
    """The rule of each action.

    :param text: a JSON object, or YAML with a rule in each line, both texts in double quotes
    :raises PolicyError: if it is neither
    """
    if not text.lstrip().startswith('{'):
        return _unique(_pairs_in_lines(text))
    try:
        rules = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        raise PolicyError(f'it is not valid JSON: {error}') from None
    for action, rule in rules.items():
        if not isinstance(rule, str):
            raise PolicyError(f'{action}: a rule is a text, not {rule!r}')
    return dict(rules)


def _pairs_in_lines(text: str) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and line != '---' and not line.startswith('#'):
            match = _LINE.fullmatch(line)
            if match is None:
                raise PolicyError(f'line {number} must read "messages:create": "role:writer"')
            yield match[1], match[2]


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    rules: dict[str, str] = {}
    for action, rule in pairs:
        if action in rules:
            raise PolicyError(f'{action} has two rules')
        rules[action] = rule
    return rules
