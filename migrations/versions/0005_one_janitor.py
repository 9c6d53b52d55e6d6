"""Of several janitors one does the rounds.

The table is new, so nothing is locked that anybody uses. The release before this one goes on
to work: its janitors do their rounds as before.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0005'
down_revision = '0004'
additive = True


def upgrade() -> None:
    """Make the table, and its only row."""
    op.create_table(
        'janitor',
        sa.Column('only_row', sa.Boolean, primary_key=True, server_default=sa.text('true')),
        sa.Column('name', postgresql.UUID),
        sa.Column('round_at', sa.DateTime(timezone=True)),
        sa.CheckConstraint('only_row', name='janitor_has_one_row'),
    )
    op.execute('INSERT INTO janitor DEFAULT VALUES')


def downgrade() -> None:
    """Drop the table."""
    op.drop_table('janitor')
