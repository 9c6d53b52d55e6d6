"""How alembic reaches the database, and how careful it is there.

The database is the one that MARCONI_DATABASE_URL names, else the embedded PostgreSQL if it
is running. `marconi serve` hands over its own in ``config.attributes['url']``.
"""

from alembic import context
from alembic.util import CommandError
from pecan.configuration import conf_from_file
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from marconi_api.installation import config_file, database_url
from marconi_api.model.tables import metadata

# A migration that cannot get its lock gives up, rather than make all requests wait in line
# behind it. It is safe to run again.
LOCK_TIMEOUT = '5s'


def run_offline() -> None:
    """Print the SQL, for those who review it first."""
    context.configure(
        dialect_name='postgresql',
        target_metadata=metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


def run_online() -> None:
    """Bring the database up or down, each migration in a transaction of its own."""
    url = context.config.attributes.get('url') or database_url(conf_from_file(str(config_file())))
    if not url:
        raise CommandError(
            'no database: set MARCONI_DATABASE_URL, or start the embedded one (make serve)'
        )
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            transaction_per_migration=True,
            compare_server_default=True,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
