"""What the SQS door keeps beyond the other doors: accounts, secrets of access keys, facts of messages.

There is a new table, and some columns of four tables, which are null in all rows: PostgreSQL rewrites
none of them. It locks each table for a moment, for which posts and claims wait. The release before this
one goes on to work: it neither writes nor reads the columns.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'
additive = True


def upgrade() -> None:
    """Make the table, and add the columns."""
    op.create_table(
        'accounts',
        sa.Column('project', sa.Text(collation='C'), primary_key=True),
        sa.Column('account', sa.Text(collation='C'), nullable=False, unique=True),
        sa.Column('receipt_key', sa.LargeBinary, nullable=False),
    )
    op.add_column('tokens', sa.Column('encrypted_secret', sa.Text))
    op.add_column('queues', sa.Column('purged_at', sa.DateTime(timezone=True)))
    op.add_column('messages', sa.Column('message_attributes', sa.Text))
    op.add_column('message_states', sa.Column('first_received_at', sa.DateTime(timezone=True)))
    op.add_column('message_states', sa.Column('claimed_before', sa.Integer))


def downgrade() -> None:
    """Drop them: access keys end, and messages lose their attributes."""
    op.drop_column('message_states', 'claimed_before')
    op.drop_column('message_states', 'first_received_at')
    op.drop_column('messages', 'message_attributes')
    op.drop_column('queues', 'purged_at')
    op.drop_column('tokens', 'encrypted_secret')
    op.drop_table('accounts')
