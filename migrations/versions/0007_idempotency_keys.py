"""The keys by which requests can be sent again without being done twice.

The table is new, so nothing is locked that anybody uses. The release before this one goes on to
work: it does not know keys.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0007'
down_revision = '0006'
additive = True


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        'idempotency_keys',
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('operation', sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column('key', postgresql.UUID, primary_key=True),
        sa.Column('digest', postgresql.UUID, nullable=False),
        sa.Column('first_id', sa.BigInteger, nullable=False),
        sa.Column('claim_id', postgresql.UUID),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index('idempotency_keys_expiry', 'idempotency_keys', ['expires_at'])


def downgrade() -> None:
    """Drop the table: a request that is sent again is then done again."""
    op.drop_table('idempotency_keys')
