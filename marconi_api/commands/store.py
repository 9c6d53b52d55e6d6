"""The store that commands on the database work on."""

from marconi_api import model
from marconi_api.app import prepare
from marconi_api.model import Actor, Store
from marconi_api.model.audit import COMMAND
from marconi_api.processes import schema
from marconi_api.processes.installation import database_url
from marconi_api.processes.settings import read_settings


def open_store() -> Store:
    """The store that the settings name, whose schema is current.

    :raises SettingsError: if the settings cannot be used
    :raises ServiceError: if they name no database, and none of ours is running
    :raises SchemaError: if the database is unreachable, or its schema is not current
    """
    settings = read_settings()
    # First, as it says of a URL that cannot be used how to write it.
    if url := database_url(settings):
        schema.check(url)
    prepare(settings)
    model.store.audit.actor = Actor.of_this_process(COMMAND)
    return model.store
