"""FIFO queues and fair queues: groups of messages.

One table is new. The columns are null, or have a constant default, in all rows that are there, so
PostgreSQL rewrites none of them. It locks each table for a moment. Posts and claims also wait while it
reads the states of all messages once, for the new index, which holds none of them: a tenth of a
second for a million messages. The release before this one goes on to work. Make FIFO queues once
no process of it runs any more: it knows of no groups.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'
additive = True


def upgrade() -> None:
    """Make the table, add the columns, then the index."""
    op.create_table(
        'message_groups',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('group_key', sa.Text(collation='C'), primary_key=True),
        sa.Column('last_sequence', sa.BigInteger, nullable=False),
        sa.Column('first_sequence', sa.BigInteger, nullable=False),
        sa.Column('available_at', sa.DateTime(timezone=True)),
        # A row is written with each post and each claim.
        postgresql_with={'fillfactor': 70, 'autovacuum_vacuum_scale_factor': 0.02},
    )
    op.create_index(
        'message_groups_available',
        'message_groups',
        ['queue_id', 'available_at', 'group_key'],
        postgresql_where=sa.text('available_at IS NOT NULL'),
    )
    op.add_column('idempotency_keys', sa.Column('sequence', sa.BigInteger))
    op.add_column('messages', sa.Column('deduplication_id', sa.Text(collation='C')))
    op.add_column(
        'queues', sa.Column('grouping', sa.SmallInteger, nullable=False, server_default='0')
    )
    op.add_column('message_states', sa.Column('group_key', sa.Text(collation='C')))
    op.add_column('message_states', sa.Column('sequence', sa.BigInteger))
    op.create_index(
        'message_states_group',
        'message_states',
        ['queue_id', 'group_key', 'sequence'],
        postgresql_where=sa.text('group_key IS NOT NULL'),
    )


def downgrade() -> None:
    """Drop all of it; the messages of FIFO queues stay, without their groups."""
    op.drop_index('message_states_group', 'message_states')
    op.drop_column('message_states', 'sequence')
    op.drop_column('message_states', 'group_key')
    op.drop_column('queues', 'grouping')
    op.drop_column('messages', 'deduplication_id')
    op.drop_column('idempotency_keys', 'sequence')
    op.drop_table('message_groups')
