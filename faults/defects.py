"""Defects that a service can be started with, to prove that the checker finds them.

A defect is a change of the source of some modules, made while they are imported. Nothing on the disk
changes, and no service has one that is not started by a campaign.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType
from typing import NamedTuple


class Change(NamedTuple):
    """In a package of ``marconi_api``, or a module, one text takes the place of another.

    It does so in each module that has the text, so that it may move.
    """

    place: str
    old: str
    new: str

    def concerns(self, module: str) -> bool:
        """Whether a module lies there."""
        place = f'marconi_api.{self.place}'
        return module == place or module.startswith(f'{place}.')


class Defect(NamedTuple):
    """What is wrong, as the changes that make it so."""

    changes: Sequence[Change]
    #: The verdicts of the checker of which one must be found.
    found_as: Sequence[str]
    #: The accidents that bring it to light; else all happen.
    accidents: Sequence[str] = ()
    #: The name of the instance that has it; '' for all.
    instance: str = ''


def switch_on(name: str, instance: str) -> None:
    """Have the modules changed that this process imports from now on."""
    defect = DEFECTS[name]
    if defect.instance in ('', instance):
        sys.meta_path.insert(0, _Finder(defect.changes))


def changed(module: str, source: str, changes: Sequence[Change]) -> str:
    """The source of a module with the changes that concern it."""
    for change in changes:
        if change.concerns(module):
            source = source.replace(change.old, change.new)
    return source


class _Finder(MetaPathFinder):
    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(change.concerns(fullname) for change in self._changes):
            return None
        spec = PathFinder.find_spec(fullname, path)
        # A package is left as it is: its modules are found by themselves.
        if spec is None or spec.origin is None or spec.submodule_search_locations:
            return None
        loader = _Loader(fullname, spec.origin)
        loader.changes = self._changes
        return spec_from_file_location(fullname, spec.origin, loader=loader)


class _Loader(SourceFileLoader):
    changes: Sequence[Change]

    def get_code(self, fullname: str) -> CodeType:
        # Neither read from a file of compiled code nor kept in one.
        source = self.get_source(fullname) or ''
        return compile(changed(fullname, source, self.changes), self.path, 'exec')


_SECOND_TRANSACTION = """
        if target := dead_letters.target_of(queue, attributes):
            import time
            time.sleep(0.5)
            for table, own in (
                ('messages', "id = ANY (ARRAY(SELECT id FROM message_states WHERE queue_id = %(limbo)s"
                 " AND held_until > now() - interval '2 seconds'))"),
                ('message_states', "held_until > now() - interval '2 seconds'"),
            ):
                self._database.rows(
                    f'UPDATE {table} SET queue_id = %(target)s WHERE queue_id = %(limbo)s AND {own}',
                    {'target': target.id, 'limbo': target.id + 1},
                )
"""

_TWO_HALVES = """
        if len(batch['bodies']) > 1 and key is None and 'is_half' not in batch:
            import time
            half = len(batch['bodies']) // 2
            first, second = (
                {name: it[part] if isinstance(it, list) else it for name, it in batch.items()}
                | {'is_half': True}
                for part in (slice(None, half), slice(half, None))
            )
            ids = self._post(queue, sender, first, key, has_subscribers)
            time.sleep(0.3)
            return ids and ids + self._post(queue, sender, second, key, has_subscribers)
"""

_PURGED_LATER = """
        import threading
        import time

        def purge_again():
            time.sleep(1)
            self.delete_unclaimed(queue)

        if threading.current_thread().name != 'later':
            threading.Thread(target=purge_again, name='later', daemon=True).start()
"""

# It takes a moment, so many happen.
_KILLS = ('kill worker', 'kill router')

#: All defects, by their names.
DEFECTS: dict[str, Defect] = {
    'messages are taken without a lock': Defect(
        [
            Change(
                'model',
                '\n                           FOR UPDATE SKIP LOCKED) AS locked',
                ') AS locked',
            ),
            Change(
                'model',
                "FOUND = 'ctid = ANY (ARRAY(SELECT place FROM found))'",
                "FOUND = 'queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT s.id"
                ' FROM message_states AS s WHERE s.ctid = ANY (ARRAY('
                "SELECT place FROM found))))'",
            ),
        ],
        ['two live claims'],
    ),
    'a delete does not look at the claim': Defect(
        [
            Change(
                'model',
                "_delete_one(f'claim_id = %(claim_id)s::uuid AND {IS_CLAIMED}')",
                "_delete_one('true')",
            )
        ],
        ['stale verdict took effect', 'seen after its end', 'lost'],
    ),
    'verdicts of a lapsed claim count': Defect(
        [
            Change(
                'model',
                """if_held_before: str = "'expired'",""",
                """if_held_before: str = "'done'",""",
            )
        ],
        ['stale verdict took effect'],
    ),
    'a list goes beyond unfinished transactions': Defect(
        [
            Change(
                'model',
                "return f'{id} > %(after)s AND {id} < {horizon}'",
                "return f'{id} > %(after)s'",
            )
        ],
        ['skipped by a reader'],
        ['pause post'],
    ),
    'a list repeats the message at its marker': Defect(
        [
            Change(
                'model',
                "return f'{id} > %(after)s AND {id} < {horizon}'",
                "return f'{id} >= %(after)s AND {id} < {horizon}'",
            )
        ],
        ['misordered or repeated for a reader'],
    ),
    'expired messages are claimed': Defect(
        [Change('model', 'expires_at > now() AS is_ready', 'true AS is_ready')],
        ['seen after its end'],
    ),
    'claims lapse a second early': Defect(
        [
            Change(
                'model',
                'held_until <= now()',
                "held_until <= now() + interval '1 second'",
            ),
            Change(
                'model',
                "IS_READY = f'NOT {_IS_HELD}'",
                'IS_READY = "NOT coalesce(held_until > now() + interval \'1 second\', false)"',
            ),
        ],
        ['two live claims', 'delivered early', 'redelivered without a reason'],
    ),
    'a renewal does not renew': Defect(
        [
            Change(
                'model',
                '        UPDATE message_states SET {held_for}\n         WHERE {HELD}{is_intact}',
                '        UPDATE message_states SET ttl = ttl\n         WHERE {HELD}{is_intact}',
            )
        ],
        ['two live claims', 'refused to the holder'],
    ),
    'a dead letter is moved in two transactions': Defect(
        [
            Change(
                'model',
                'SELECT %(target_id)s, id, {NOW},',
                'SELECT %(target_id)s + 1, id, {NOW},',
            ),
            Change(
                'model',
                'SELECT %(target_id)s, gone.id, created_at',
                'SELECT %(target_id)s + 1, gone.id, created_at',
            ),
            Change(
                'model',
                'attributes: Attributes, count: int) -> None:\n',
                f'attributes: Attributes, count: int) -> None:{_SECOND_TRANSACTION}',
            ),
        ],
        ['lost'],
        _KILLS,
    ),
    'a message is claimed once too often': Defect(
        [Change('model', 'claim_count < %(max', 'claim_count <= %(max')],
        ['claims miscounted'],
    ),
    'claims are not counted': Defect(
        [
            Change(
                'model',
                'claim_count = claim_count + 1, {held_for}',
                'claim_count = claim_count, {held_for}',
            )
        ],
        ['claims miscounted'],
    ),
    'a batch is stored in two transactions': Defect(
        [
            Change(
                'model',
                "        by_attributes = 'digest' in batch\n",
                f"{_TWO_HALVES}        by_attributes = 'digest' in batch\n",
            )
        ],
        ['batch half-stored'],
        _KILLS,
    ),
    "one service goes by its machine's clock": Defect(
        [
            Change(
                'model',
                'THEN clock_timestamp() END AS at',
                "THEN clock_timestamp() - interval '1 hour' END AS at",
            )
        ],
        ['two live claims', 'delivered early'],
        instance='second',
    ),
    'keys of posts are not remembered': Defect(
        [
            Change(
                'model',
                'POSTS[by_attributes, key is not None, has_subscribers, asks]',
                'POSTS[by_attributes, False, has_subscribers, asks]',
            ),
            Change(
                'model',
                '        if key is None:\n            if',
                '        if True:\n            if',
            ),
        ],
        ['stored twice'],
    ),
    'commits are not waited for': Defect(
        [
            Change(
                'model',
                "'default_transaction_isolation': 'read committed',\n            'statement",
                "'default_transaction_isolation': 'read committed',\n"
                "            'synchronous_commit': 'off',\n            'statement",
            )
        ],
        ['lost', 'seen after its end', 'stale verdict took effect', 'two live claims'],
        ['kill postmaster', 'stop postmaster at once'],
    ),
    'a delay is not heeded': Defect(
        [
            Change(
                'model',
                "return f'CASE WHEN {delay} > 0 THEN {after(delay)} END'",
                "return f'CASE WHEN {delay} > 0 THEN {NOW} END'",
            )
        ],
        ['delivered early'],
    ),
    'a release comes back a second early': Defect(
        [
            Change(
                'model',
                "{after('seconds')} AS until",
                "{after('greatest(0, seconds - 1)')} AS until",
            )
        ],
        ['delivered early', 'two live claims', 'refused to the holder'],
    ),
    'projects share their queues': Defect(
        [
            Change('model', "{len(project)}:{project}{name}'", "{name}'"),
            Change('model', 'AND project = %(project)s AND name', 'AND name'),
        ],
        ['never posted'],
    ),
    'nobody wakes who waits': Defect(
        [
            Change(
                'processes.waiting.sweeps',
                'if self._lines.wake(queue_id, count, now) and',
                'if False and',
            ),
            Change('processes.waiting.lending', 'if self.threads.is_any_free', 'if False'),
            Change('processes.waiting.room', 'sweep_intervals[0] if', '1000 if'),
            Change('processes.waiting.room', 'else min(sweep_intervals)', 'else 1000'),
        ],
        ['waited too long'],
        ['pause reader'],
    ),
    'a message that is handed over is ready, too': Defect(
        [
            Change(
                'model.posting_claimed',
                'SELECT %(queue_id)s, id, held_until,\n',
                'SELECT %(queue_id)s, id, NULL::timestamptz,\n',
            )
        ],
        ['two live claims'],
    ),
    'marks are raised without their proof': Defect(
        [
            Change(
                'model',
                'if self.confirmed and oldest_unfinished > self.confirmed.transaction:\n'
                '            held = min(first_held or Place(now, 0), self.confirmed.place)',
                'if True:\n            held = first_held or Place(now, 0)',
            ),
            Change(
                'model',
                'if first_fresh is not None and first_fresh < fresh_id:',
                'fresh_id = (oldest_unfinished + 100) << POSITION_BITS\n'
                '        if first_fresh is not None and first_fresh < fresh_id:',
            ),
        ],
        ['withheld', 'skipped by a reader', 'waited too long'],
    ),
    'the janitor removes what lives': Defect(
        [
            Change(
                'model.janitor', 'expires_at <= now()', "expires_at <= now() + interval '2 hours'"
            ),
            Change(
                'model.janitor', 'expires_at > now()', "expires_at > now() + interval '2 hours'"
            ),
        ],
        ['lost', 'refused to the holder'],
    ),
    'a delivery is done before its answer': Defect(
        [
            Change(
                'webhooks.calling',
                'return self.status is not None and 200 <= self.status < 300',
                'return True',
            )
        ],
        ['webhook never delivered'],
    ),
    'the messages of a batch change places': Defect(
        [
            Change(
                'model',
                'SELECT first_id + place - 1 AS id',
                'SELECT first_id + cardinality(%(ttls)s::int[]) - place AS id',
            )
        ],
        ['stored twice'],
    ),
    'two transactions have one number': Defect(
        [
            Change(
                'model',
                "FIRST_ID = f'(pg_current_xact_id()::text::bigint + %(base)s) <<",
                "FIRST_ID = f'((pg_current_xact_id()::text::bigint + %(base)s) & -4) <<",
            )
        ],
        ['id given twice', 'answered 500'],
    ),
    'a verdict deletes nothing': Defect(
        [
            Change(
                'model.verdicts',
                "WHERE result = 'done' AND verdict = 'delete'))",
                "WHERE result = 'done' AND verdict = 'never'))",
            )
        ],
        ['seen after its end'],
    ),
    'a dead letter without a queue is dropped': Defect(
        [
            Change(
                'model.dead_letters',
                'UPDATE message_states\n           SET {PARKED}, park_reason = %(park_reason)s\n',
                'DELETE FROM message_states\n',
            )
        ],
        ['lost'],
    ),
    'statistics count parked messages as free': Defect(
        [
            Change(
                'model',
                'SELECT counts.total - counts.claimed - counts.parked, counts.claimed',
                'SELECT counts.total - counts.claimed, counts.claimed',
            )
        ],
        ['statistics differ'],
    ),
    'messages of a group are passed over': Defect(
        [Change('model.fifo', 'WHERE is_passed)', 'WHERE is_ours)')],
        ['overtaken in its group'],
    ),
    'a group goes on while a message of it is claimed': Defect(
        [
            Change('model.fifo', 'WHERE is_passed)', 'WHERE is_ours)'),
            Change(
                'model.fifo',
                'WHERE firsts.is_alive AND firsts.is_free LIMIT',
                'WHERE firsts.is_alive LIMIT',
            ),
            Change(
                'model.fifo',
                'THEN greatest({NOW}, least(seen.held_until, seen.expires_at))',
                'THEN {NOW}',
            ),
            Change('model.fifo', "_regroup('seen.ends_at', 'taken')", "_regroup(NOW, 'taken')"),
        ],
        ['overtaken in its group'],
    ),
    'deduplication ids are not remembered': Defect(
        [Change('model.groups', 'DEDUPLICATION_WINDOW = 300', 'DEDUPLICATION_WINDOW = 0')],
        ['stored twice'],
    ),
    'a copy is left out now and then': Defect(
        [
            Change(
                'model.fan_out',
                'SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint)',
                'SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint'
                ' AND random() < 0.8)',
            )
        ],
        ['lost', 'batch half-stored'],
    ),
    'a reply is forgotten now and then': Defect(
        [
            Change(
                'model.replies',
                'WHERE message_id = given.id AND lies_in = %(queue_id)s AND ended_at IS NULL',
                'WHERE message_id = given.id AND lies_in = %(queue_id)s AND ended_at IS NULL'
                ' AND random() < 0.8',
            )
        ],
        ['wrong reply'],
    ),
    'a redrive drops messages': Defect(
        [
            Change(
                'model.redrive',
                'FROM leaving LEFT JOIN arrived USING (id)',
                'FROM leaving LEFT JOIN arrived USING (id) WHERE random() < 0.8',
            )
        ],
        ['lost'],
    ),
    'a purge leaves messages': Defect(
        [
            Change(
                'model.deletes',
                'UPDATE queues SET floor = greatest(floor, {NEXT_TRANSACTION})',
                'UPDATE queues SET floor = floor',
            )
        ],
        ['seen after its end'],
    ),
    'a purge comes a second time, later': Defect(
        [
            Change(
                'model.messages',
                '        with self._database.transaction() as run:\n'
                '            # Until the transaction ends, nobody else can purge',
                f'{_PURGED_LATER}        with self._database.transaction() as run:\n'
                '            # Until the transaction ends, nobody else can purge',
            )
        ],
        ['lost', 'skipped by a reader'],
    ),
    'a purge removes what is claimed': Defect(
        [
            Change(
                'model.deletes',
                'WHERE ctid = ANY (ARRAY(SELECT ctid FROM claimed)))',
                'WHERE false AND ctid = ANY (ARRAY(SELECT ctid FROM claimed)))',
            )
        ],
        ['refused to the holder'],
    ),
    'a kick drops messages': Defect(
        [
            Change(
                'model',
                'UPDATE message_states AS state\n'
                '           SET {STARTED_ANEW}\n'
                '          FROM places WHERE state.ctid = places.place',
                'DELETE FROM message_states AS state\n'
                '         USING places WHERE state.ctid = places.place',
            )
        ],
        ['lost'],
    ),
    'a late delete by SQS is carried out': Defect(
        [Change('model.receives', "THEN 'expired' ELSE 'done' END", "THEN 'done' ELSE 'done' END")],
        ['stale verdict took effect'],
    ),
}
