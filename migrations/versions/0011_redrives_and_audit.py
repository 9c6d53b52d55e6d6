"""Redrives, the audit log, and for each dead letter the queue that it came from.

The two tables are new. The column of ``message_states`` is null in all rows that are there, so
PostgreSQL rewrites none of them. It locks the table for a moment, for which posts and claims wait.
The release before this one goes on to work: it neither writes nor reads the column. A dead letter
that it puts away does not know where it came from, and goes back to a queue that is named.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0011'
down_revision = '0010'
additive = True

_TIMESTAMP = sa.DateTime(timezone=True)
_TEXT_BY_BYTES = sa.Text(collation='C')


def upgrade() -> None:
    """Add the column, and make the tables."""
    op.add_column('message_states', sa.Column('came_from', sa.BigInteger))
    op.create_table(
        'redrives',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('id', postgresql.UUID, primary_key=True),
        sa.Column('project', _TEXT_BY_BYTES, nullable=False),
        sa.Column('name', _TEXT_BY_BYTES, nullable=False),
        sa.Column('state', sa.Text, nullable=False),
        sa.Column('target', _TEXT_BY_BYTES),
        sa.Column('origins', _TEXT_BY_BYTES),
        sa.Column('min_age', sa.Integer),
        sa.Column('max_age', sa.Integer),
        sa.Column('reason', sa.Text),
        sa.Column('rate', sa.Integer),
        sa.Column('before', sa.BigInteger, nullable=False),
        sa.Column('total', sa.BigInteger),
        sa.Column('place', sa.BigInteger, nullable=False, server_default='-1'),
        sa.Column('moved', sa.BigInteger, nullable=False, server_default='0'),
        sa.Column('without_target', sa.BigInteger, nullable=False, server_default='0'),
        sa.Column('status', sa.Text, nullable=False, server_default='running'),
        sa.Column('failure', sa.Text),
        sa.Column('started_at', _TIMESTAMP, nullable=False, server_default=sa.text('now()')),
        sa.Column('due_at', _TIMESTAMP, nullable=False, server_default=sa.text('now()')),
        sa.Column('ended_at', _TIMESTAMP),
    )
    op.create_index(
        'redrives_running',
        'redrives',
        ['queue_id'],
        unique=True,
        postgresql_where=sa.text('ended_at IS NULL'),
    )
    op.create_table(
        'audit',
        sa.Column('id', sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column('at', _TIMESTAMP, nullable=False, server_default=sa.text('now()')),
        sa.Column('who', sa.Text, nullable=False),
        sa.Column('way', sa.Text, nullable=False),
        sa.Column('action', _TEXT_BY_BYTES, nullable=False),
        sa.Column('project', _TEXT_BY_BYTES),
        sa.Column('queue', _TEXT_BY_BYTES),
        sa.Column('count', sa.BigInteger),
        sa.Column('details', sa.Text, nullable=False, server_default='{}'),
    )
    op.create_index('audit_times', 'audit', ['at'])


def downgrade() -> None:
    """Drop them: redrives that are under way stop, and what people did is forgotten."""
    op.drop_table('audit')
    op.drop_table('redrives')
    op.drop_column('message_states', 'came_from')
