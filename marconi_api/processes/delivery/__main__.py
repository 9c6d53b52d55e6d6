"""``python -m marconi_api.processes.delivery``: calls webhooks; ``marconi serve`` runs it."""

import asyncio
import logging.config
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from marconi_api import limits
from marconi_api.controllers.openstack.signed_urls import Signer
from marconi_api.model import Store
from marconi_api.processes.children import leave, name_process
from marconi_api.processes.delivery.bell import OWNER, PLACE, Ear, path_of
from marconi_api.processes.delivery.confirmations import confirmation
from marconi_api.processes.delivery.office import Office
from marconi_api.processes.installation import database_url
from marconi_api.processes.metrics.meters import meters_of
from marconi_api.processes.settings import read_settings
from marconi_api.processes.tallies import tally_of
from marconi_api.processes.waiting import hand_over
from marconi_api.webhooks.calling import Caller
from marconi_api.webhooks.rules import Rules


def main() -> None:
    """Deliver until a signal asks to stop."""
    name_process('marconi-deliver')
    settings = read_settings()
    logging.config.dictConfig(settings.logging.to_dict())
    limits.init_limits(settings.limits)
    settings.database.url = database_url(settings)
    place = int(os.environ.get(PLACE) or 0)
    meters_of(os.environ, f'delivery-{place}')
    tally_of(os.environ, f'delivery-{place}')
    asyncio.run(_deliver(settings, Path(os.environ[hand_over.DIRECTORY]), place))


async def _deliver(settings: Any, directory: Path, place: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    rules = Rules.from_config(settings.eventing)
    signer = Signer([key for key in settings.signed_urls.secret_keys.split(',') if key])
    caller = Caller(rules)
    try:
        await Office(
            Store.of(settings),
            caller,
            rules,
            os.environ.get(OWNER) or str(uuid4()),
            Ear(path_of(directory, place)),
            partial(confirmation, signer) if signer.can_sign else None,
        ).run(stop)
    finally:
        await caller.close()


if __name__ == '__main__':
    main()
    leave()
