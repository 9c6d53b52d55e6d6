"""How examples come upon a redrive of the queue."""

from typing import Any

REDRIVE = '5b6c69d9-777f-482a-a5ad-b70e859b0e3a'

#: The circumstances, and the time at which the redrive ended.
REDRIVEN = {'a redrive': 'now()', 'a redrive under way': 'NULL'}

_MAKE = """
    INSERT INTO redrives (queue_id, id, project, name, state, before, total, ended_at, status)
    SELECT queue_id, '{id}', project, name, 'parked', 0, 0, {ended},
           CASE WHEN {ended} IS NULL THEN 'running' ELSE 'completed' END
      FROM queues WHERE name = 'jobs'"""


def make_redrive(sql: Any, given: str) -> None:
    """Have the queue a redrive that is as the circumstance says."""
    sql(_MAKE.format(id=REDRIVE, ended=REDRIVEN[given]))
