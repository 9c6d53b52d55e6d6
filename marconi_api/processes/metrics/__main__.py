"""``python -m marconi_api.processes.metrics``: the exporter, which ``marconi serve`` runs."""

import logging.config
import os
import socket
from pathlib import Path

from marconi_api.model import Store
from marconi_api.processes.children import name_process
from marconi_api.processes.installation import database_url
from marconi_api.processes.metrics.exporter import Exporter
from marconi_api.processes.metrics.looking import Looking
from marconi_api.processes.metrics.meters import DIRECTORY, LISTENER
from marconi_api.processes.metrics.page import Page
from marconi_api.processes.settings import read_settings
from marconi_api.processes.waiting import hand_over
from marconi_api.processes.waiting.wake_map import WakeMap


def main() -> None:
    """Tell the figures of the service to all who ask, until it is stopped."""
    name_process('marconi-metrics')
    settings = read_settings()
    logging.config.dictConfig(settings.logging.to_dict())
    settings.database.url = database_url(settings)
    looking = Looking(Store.of(settings), settings.metrics.interval, settings.metrics.queues)
    looking.start()
    wake_map = WakeMap(Path(os.environ[hand_over.DIRECTORY], hand_over.MAP))
    exporter = Exporter(Path(os.environ[DIRECTORY]), wake_map, looking)
    Page(socket.socket(fileno=int(os.environ[LISTENER])), exporter).serve_forever()


if __name__ == '__main__':
    main()
