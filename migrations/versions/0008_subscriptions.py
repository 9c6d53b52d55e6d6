"""Subscriptions to queues, and what is still to be delivered to the subscribers.

The tables are new, so nothing is locked that anybody uses. The new column of queues has a constant
default, so no row is rewritten; while its index is made, milliseconds for 100,000 queues, none can be
made or changed. The release before this one goes on to
work, but what it posts is not delivered.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0008'
down_revision = '0007'
additive = True

TABLES = ('subscriptions', 'subscription_owners', 'deliveries', 'delivery_attempts')


def upgrade() -> None:
    """Make the tables, and add the column."""
    op.add_column(
        'queues',
        sa.Column('has_subscribers', sa.Boolean, nullable=False, server_default=sa.text('false')),
    )
    op.create_index(
        'queues_with_subscribers',
        'queues',
        ['queue_id'],
        postgresql_where=sa.text('has_subscribers'),
    )
    _make_subscriptions()
    _make_deliveries()
    # As of the other tables (0004).
    for table in TABLES:
        op.execute(f'ALTER TABLE {table} ALTER COLUMN queue_id SET (n_distinct = 1)')


def _make_subscriptions() -> None:
    op.create_table(
        'subscriptions',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('subscriber', sa.Text(collation='C'), nullable=False),
        sa.Column('target_id', sa.BigInteger),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('ttl', sa.Integer, nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('options', sa.Text, nullable=False, server_default=sa.text("'{}'")),
        sa.Column('confirmed', sa.Boolean, nullable=False),
        sa.Column('secret', sa.Text),
        sa.Column('previous_secret', sa.Text),
        sa.Column('rotated_at', sa.DateTime(timezone=True)),
        sa.Column('paused_at', sa.DateTime(timezone=True)),
        sa.Column('reason', sa.Text),
    )
    op.create_index(
        'subscriptions_targets',
        'subscriptions',
        ['target_id'],
        postgresql_where=sa.text('target_id IS NOT NULL'),
    )
    op.create_table(
        'subscription_owners',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('owner', postgresql.UUID),
        sa.Column(
            'owned_until',
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("'-infinity'"),
        ),
        sa.Column('delivered', sa.BigInteger, nullable=False, server_default=sa.text('0')),
        sa.Column('failing_since', sa.DateTime(timezone=True)),
        sa.Column('confirmation', sa.Text),
        sa.Column('confirmation_due_at', sa.DateTime(timezone=True)),
        sa.Column(
            'confirmation_attempts', sa.SmallInteger, nullable=False, server_default=sa.text('0')
        ),
        postgresql_with={'fillfactor': 50},
    )


def _make_deliveries() -> None:
    op.create_table(
        'deliveries',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('subscription_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('message_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('due_at', sa.DateTime(timezone=True)),
        sa.Column('attempts', sa.SmallInteger, nullable=False, server_default=sa.text('0')),
        postgresql_with={'autovacuum_vacuum_scale_factor': 0.02},
    )
    op.create_index(
        'deliveries_due',
        'deliveries',
        ['queue_id', 'subscription_id', 'due_at'],
        postgresql_where=sa.text('due_at IS NOT NULL'),
    )
    op.create_table(
        'delivery_attempts',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('subscription_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('message_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('attempt', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('attempted_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('status', sa.SmallInteger),
        sa.Column('error', sa.Text),
        sa.Column('milliseconds', sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Drop all of it: nobody is subscribed any more, and what was to be delivered is not."""
    for table in TABLES:
        op.drop_table(table)
    op.drop_index('queues_with_subscribers', 'queues')
    op.drop_column('queues', 'has_subscribers')
