"""``python -m marconi_api.processes.waiting``: the waiting room, which ``marconi serve`` runs."""

import os
import sys
from pathlib import Path

from pecan import load_app

from marconi_api import limits, model
from marconi_api.model.postgres.notifications import Notifications
from marconi_api.processes.children import leave, name_process
from marconi_api.processes.delivery.bell import bell_of
from marconi_api.processes.installation import database_url, normalise_url
from marconi_api.processes.metrics.meters import meters_of
from marconi_api.processes.observers import Observers
from marconi_api.processes.settings import read_settings
from marconi_api.processes.tallies import tally_of
from marconi_api.processes.tracing import tracer_of
from marconi_api.processes.waiting.clients import Clients
from marconi_api.processes.waiting.hand_over import ADDRESS, DIRECTORY, RoomConnection
from marconi_api.processes.waiting.neighbours import Neighbours
from marconi_api.processes.waiting.room import Room

CHANNEL = 'marconi_waiting'

# Seconds for which a thread may keep the others from running: the loop must come to its turn.
_SWITCH_INTERVAL = 0.001


def main() -> None:
    """Run the room of the service until it is stopped."""
    name_process('marconi-waiting')
    sys.setswitchinterval(_SWITCH_INTERVAL)
    directory = Path(os.environ[DIRECTORY])
    host, _, port = os.environ[ADDRESS].rpartition(' ')
    settings = read_settings()
    application = load_app(settings.to_dict())
    # What a request that is run here makes ready, or deletes, is told as by any worker.
    connection = RoomConnection(directory)
    model.store.became_ready.append(connection.wake)
    model.store.ended.append(connection.wake_askers)
    tally_of(os.environ, 'waiting')
    if bell := bell_of(os.environ):
        model.store.became_deliverable.append(bell.ring)
    url = normalise_url(settings.waiting.notifications_url or database_url(settings) or '')
    neighbours = Neighbours(
        lambda: Notifications(
            url, CHANNEL, settings.database.connect_timeout, settings.database.statement_timeout
        )
    )
    tracer = tracer_of(settings)
    room = Room(
        directory,
        application,
        model.store.readiness.look,
        model.store.replies.look,
        model.store.claims.undo,
        neighbours,
        Clients(host, int(port)),
        limits.in_force,
        (
            settings.waiting.sweep_interval,
            settings.waiting.sweep_interval_without_notifications,
        ),
        Observers(settings.server.access_log, meters_of(os.environ, 'waiting'), tracer),
    )
    neighbours.start()
    room.run()
    if tracer is not None:
        tracer.close()


if __name__ == '__main__':
    main()
    leave()
