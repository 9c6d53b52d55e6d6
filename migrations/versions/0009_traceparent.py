"""The trace of which a message's post was a part.

The column is null in all rows that are there, so PostgreSQL rewrites none of them. It locks the
table for a moment, for which posts and claims wait. The release before this one goes on to work:
it neither writes nor reads the column.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
additive = True


def upgrade() -> None:
    """Add the column."""
    op.add_column('messages', sa.Column('traceparent', sa.Text(collation='C')))


def downgrade() -> None:
    """Drop the column, and with it what is known of traces."""
    op.drop_column('messages', 'traceparent')
