"""What came to each queue and left it in each minute of the last hour, and what it then held.

The table is new. It is unlogged: after a crash of PostgreSQL, and on a server that was promoted, it is
empty, and nothing but the plots of the console is missing. The release before this one goes on to work.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0012'
down_revision = '0011'
additive = True


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        'queue_minutes',
        sa.Column('minute', sa.DateTime(timezone=True), primary_key=True),
        sa.Column('queue_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('came', sa.BigInteger, nullable=False, server_default='0'),
        sa.Column('gone', sa.BigInteger, nullable=False, server_default='0'),
        sa.Column('handed_out', postgresql.ARRAY(sa.BigInteger)),
        sa.Column('ready', sa.BigInteger),
        sa.Column('claimed', sa.BigInteger),
        sa.Column('delayed', sa.BigInteger),
        sa.Column('parked', sa.BigInteger),
        sa.Column('oldest_age', sa.BigInteger),
        prefixes=['UNLOGGED'],
        # Each row is written two or three times, and then not any more.
        postgresql_with={'fillfactor': 70},
    )


def downgrade() -> None:
    """Drop it: the plots of the console begin anew."""
    op.drop_table('queue_minutes')
