"""Nothing reads all of a queue, or all queues, to find a few.

Statements are planned as if one queue held all messages, whatever ANALYZE counts. Where there
were many small queues at the last ANALYZE, PostgreSQL up to 16 takes the ids in
`queue_id = ... AND id = ANY (...)` for a mere filter, and reads the whole of a queue that has
grown since. Only a statistic of one column changes, its number of distinct values, by an
ANALYZE of each table, which reads a sample. The new index holds only queues that are being
deleted; while it is made, milliseconds for 100,000 queues, none can be made or changed.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'

TABLES = ('message_states', 'messages', 'claims')


def upgrade() -> None:
    """Set the number of queues to one, and make the index."""
    op.create_index(
        'queues_retired',
        'queues',
        ['queue_id'],
        postgresql_where=sa.text('floor = 9223372036854775807'),
    )
    for table in TABLES:
        op.execute(f'ALTER TABLE {table} ALTER COLUMN queue_id SET (n_distinct = 1)')
        op.execute(f'ANALYZE {table}')


def downgrade() -> None:
    """Leave it to ANALYZE to count them, and drop the index."""
    op.drop_index('queues_retired', 'queues')
    for table in TABLES:
        op.execute(f'ALTER TABLE {table} ALTER COLUMN queue_id RESET (n_distinct)')
        op.execute(f'ANALYZE {table}')
