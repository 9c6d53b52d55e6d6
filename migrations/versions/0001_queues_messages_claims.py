"""Queues, messages and claims.

All tables are new, so nothing is locked that anybody uses. marconi_api/model/tables.py
says what each column means.

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None

# Rows come and go all the time: vacuum by a fiftieth of a table, not by the default fifth,
# so that scans do not meet what is long gone. Bodies are only ever inserted and deleted.
CHURN = {'autovacuum_vacuum_scale_factor': 0.02, 'autovacuum_analyze_scale_factor': 0.05}
BODIES = {**CHURN, 'autovacuum_vacuum_insert_scale_factor': 0.5}


def upgrade() -> None:
    """Make all tables."""
    timestamp = sa.DateTime(timezone=True)
    text_by_bytes = sa.Text(collation='C')

    op.create_table(
        'queues',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('project', text_by_bytes, nullable=False),
        sa.Column('name', text_by_bytes, nullable=False),
        sa.Column('metadata', sa.Text, nullable=False, server_default=sa.text("'{}'")),
        sa.Column('created_at', timestamp, nullable=False, server_default=sa.text('now()')),
        sa.Column('floor', sa.BigInteger, nullable=False),
    )
    op.create_index('queues_by_name', 'queues', ['project', 'name'])

    op.create_table(
        'messages',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('created_at', timestamp, nullable=False),
        sa.Column('body', sa.Text, nullable=False),
        postgresql_with=BODIES,
    )

    op.create_table(
        'message_states',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('held_until', timestamp),
        sa.Column('expires_at', timestamp, nullable=False),
        sa.Column('claim_id', postgresql.UUID),
        sa.Column('client_id', postgresql.UUID, nullable=False),
        sa.Column('ttl', sa.Integer, nullable=False),
        sa.Column('claim_count', sa.Integer, nullable=False, server_default=sa.text('0')),
        postgresql_with=CHURN,
    )
    op.create_index(
        'message_states_fresh',
        'message_states',
        ['queue_id', 'id'],
        postgresql_where=sa.text('held_until IS NULL'),
    )
    op.create_index(
        'message_states_held',
        'message_states',
        ['queue_id', 'held_until', 'id'],
        postgresql_where=sa.text('held_until IS NOT NULL'),
    )

    op.create_table(
        'claims',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('id', postgresql.UUID, primary_key=True),
        sa.Column('started_at', timestamp, nullable=False),
        sa.Column('expires_at', timestamp, nullable=False),
        sa.Column('ttl', sa.Integer, nullable=False),
        sa.Column('message_ids', postgresql.ARRAY(sa.BigInteger), nullable=False),
        postgresql_with=CHURN,
    )

    op.create_table(
        'id_epoch',
        sa.Column('only_row', sa.Boolean, primary_key=True, server_default=sa.text('true')),
        sa.Column('cluster', sa.BigInteger, nullable=False),
        sa.Column('base', sa.BigInteger, nullable=False),
        sa.CheckConstraint('only_row', name='id_epoch_has_one_row'),
    )
    # No cluster has the number 0: the first connection writes its own.
    op.execute('INSERT INTO id_epoch (cluster, base) VALUES (0, 0)')


def downgrade() -> None:
    """Drop all tables, with every queue and message in them."""
    for table in ('id_epoch', 'claims', 'message_states', 'messages', 'queues'):
        op.drop_table(table)
