"""Accounts: the twelve digits that stand for a project in the URLs and ARNs of SQS.

A project gets its account the first time that one is asked for, and keeps it for ever. Many programs
take an account for a number of twelve digits, so it is neither the project's name nor a hash of it.
"""

import secrets
from typing import NamedTuple

from marconi_api.errors import StorageUnavailable
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.prepared import Prepared

# Two projects draw the same number at most once in a million times, with a million projects.
_TRIES = 10
_KEY_BYTES = 32
_MOST_REMEMBERED = 10_000


class Account(NamedTuple):
    """A project's account, and the key that seals the receipts of its messages."""

    number: str
    receipt_key: bytes


class Accounts:
    """The accounts of all projects. A process remembers those that it served, as they never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Account] = {}

    def of(self, project: str) -> Account:
        """The project's account, which is made if it has none."""
        known = self._known.get(project)
        if known is not None:
            return known
        for _ in range(_TRIES):
            for account in self._find(project):
                return account
            # The first digit is not 0, since some programs take the account for a number.
            number = str(secrets.randbelow(9 * 10**11) + 10**11)
            given = {'project': project, 'account': number, 'key': secrets.token_hex(_KEY_BYTES)}
            # Another process may have handed out an account to the project, or this number.
            self._database.rows(_INSERT, given, repeatable=True)
        raise StorageUnavailable

    def _find(self, project: str) -> list[Account]:
        rows = self._database.rows(_FIND, {'project': project}, repeatable=True)
        found = [Account(number, bytes(key)) for number, key in rows]
        if found:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[project] = found[0]
        return found


_FIND = Prepared('SELECT account, receipt_key FROM accounts WHERE project = %(project)s', 'account')

_INSERT = """
    INSERT INTO accounts (project, account, receipt_key)
    VALUES (%(project)s, %(account)s, decode(%(key)s, 'hex'))
        ON CONFLICT DO NOTHING
"""
