"""The messages that ask for a reply, and the replies.

The table is new, so nothing is locked that anybody uses. The release before this one goes on to
work. A worker of it can give no reply, and where it moves a message to a queue for dead letters, the
client that waits for a reply is told that the message was deleted.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
additive = True


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        'requests',
        sa.Column('message_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('lies_in', sa.BigInteger, nullable=False),
        sa.Column('project', sa.Text(collation='C'), nullable=False),
        sa.Column('reply', sa.Text),
        sa.Column('reason', sa.Text),
        sa.Column('ended_at', sa.DateTime(timezone=True)),
        sa.Column('kept_until', sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index('requests_kept', 'requests', ['kept_until'])


def downgrade() -> None:
    """Drop the table: nobody gets a reply any more."""
    op.drop_table('requests')
