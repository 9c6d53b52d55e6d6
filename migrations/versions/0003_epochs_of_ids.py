"""What is needed to number transactions anew after a restart, a restore or a failover.

The table has one row, so nothing waits for this. Where ids are in use, they go on as they
are until PostgreSQL is restarted. The release before this one goes on to work, too; stop its
last process before that restart, as it would go on with the ids from before.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'


def upgrade() -> None:
    """Add the columns; say that the numbers in use hold for the server that runs."""
    op.add_column(
        'id_epoch',
        sa.Column('reserved', sa.BigInteger, nullable=False, server_default=sa.text('0')),
    )
    op.add_column('id_epoch', sa.Column('server_started_at', sa.DateTime(timezone=True)))
    op.add_column('id_epoch', sa.Column('written_by', sa.BigInteger))
    op.add_column('id_epoch', sa.Column('rests_until', sa.DateTime(timezone=True)))
    op.execute(
        """
        UPDATE id_epoch
           SET reserved = pg_current_xact_id()::text::bigint + base + 131072,
               server_started_at = pg_postmaster_start_time(),
               written_by = pg_current_xact_id()::text::bigint & 4294967295
         WHERE cluster = (SELECT system_identifier FROM pg_control_system())
        """
    )


def downgrade() -> None:
    """Drop the columns."""
    for name in ('rests_until', 'written_by', 'server_started_at', 'reserved'):
        op.drop_column('id_epoch', name)
