"""How alembic reaches the database, and how careful it is there.

The database is the one that MARCONI_DATABASE_URL names, else the embedded PostgreSQL if it
is running. `marconi serve` hands over its own in ``config.attributes['url']``.
"""

from typing import Any

import alembic.command
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy import text

from marconi_api.model.postgres.tables import metadata
from marconi_api.processes import schema
from marconi_api.processes.installation import database_url
from marconi_api.processes.settings import SettingsError, read_settings

# A migration that cannot get its lock gives up, rather than make all requests wait in line
# behind it. It is safe to run again.
LOCK_TIMEOUT = '5s'


def run_offline() -> None:
    """Print the SQL, for those who review it first."""

    def note(ctx: MigrationContext, step: MigrationInfo, heads: Any, run_args: Any) -> None:
        _note_oldest_code(ctx, heads)

    context.configure(
        on_version_apply=note,
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
    with schema.connection(_url()) as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        steps: list[MigrationInfo] = []

        def tell(ctx: MigrationContext, step: MigrationInfo, heads: Any, run_args: Any) -> None:
            steps.append(step)
            _note_oldest_code(ctx, heads)
            context.config.print_stdout(_told(step))

        context.configure(
            connection=connection,
            target_metadata=metadata,
            transaction_per_migration=True,
            compare_server_default=True,
            on_version_apply=tell,
        )
        with context.begin_transaction():
            context.run_migrations()
        if not steps and _is_to_migrate():
            present = ', '.join(context.get_context().get_current_heads()) or 'base'
            context.config.print_stdout(f'schema is at {present} already: nothing to do')


def _note_oldest_code(ctx: MigrationContext, heads: Any) -> None:
    """Note beside the revision how old a code may be that works with it.

    As each revision is ``additive`` or not, which only the code that has it knows.
    """
    for head in heads:
        ctx.execute(schema.noting_oldest_code(context.script, head))


def _url() -> str:
    url: str | None = context.config.attributes.get('url')
    try:
        url = url or database_url(read_settings())
    except SettingsError as error:
        raise CommandError(str(error)) from None
    if not url:
        raise CommandError(
            'no database: set MARCONI_DATABASE_URL, or start the embedded one (make serve)'
        )
    return url


def _told(step: MigrationInfo) -> str:
    """What a step did, in one line: the first of its revision's docstring stands for it."""
    if step.is_stamp:
        return f'schema marked as {", ".join(step.destination_revision_ids) or "base"}'
    did = 'upgraded to' if step.is_upgrade else 'downgraded from'
    assert isinstance(step.up_revision, Script)
    return f'schema {did} {step.up_revision_id}: {step.up_revision.doc.rstrip(".")}'


def _is_to_migrate() -> bool:
    """Whether a DBA typed `alembic upgrade` or `alembic downgrade`."""
    typed = context.config.cmd_opts
    return typed is not None and typed.cmd[0] in (
        alembic.command.upgrade,
        alembic.command.downgrade,
    )


if context.is_offline_mode():
    run_offline()
else:
    try:
        run_online()
    except schema.SchemaError as error:
        # The command alembic shows its own errors without a traceback.
        raise CommandError(str(error)) from error
