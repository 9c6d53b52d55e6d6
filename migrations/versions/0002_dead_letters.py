"""Messages that were moved to another queue, and why messages are parked.

The columns are nullable and without a default, so no row is rewritten. The index of fresh
messages is made anew with the id as an expression (marconi_api/model/tables.py says why):
posts and claims wait for that, about a second for a million fresh messages. The release
before this one goes on to work, with longer walks.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    """Add the columns, and replace the index."""
    op.add_column('message_states', sa.Column('moved_in', sa.BigInteger))
    op.add_column('message_states', sa.Column('park_reason', sa.Text))
    _replace_index(sa.text('(id + 0)'))


def downgrade() -> None:
    """Undo that: messages that were moved into a queue younger than they are will be lost."""
    _replace_index(sa.text('id'))
    op.drop_column('message_states', 'park_reason')
    op.drop_column('message_states', 'moved_in')


def _replace_index(id: sa.TextClause) -> None:
    op.drop_index('message_states_fresh', 'message_states')
    op.create_index(
        'message_states_fresh',
        'message_states',
        ['queue_id', id],
        postgresql_where=sa.text('held_until IS NULL'),
    )
