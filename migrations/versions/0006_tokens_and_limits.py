"""Tokens, by which clients are let in, and limits of single projects.

The tables are new, so nothing is locked that anybody uses. The release before this one goes on
to work: it believes the headers of its clients as before.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'
additive = True


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        'tokens',
        sa.Column('id', sa.Text(collation='C'), primary_key=True),
        sa.Column('secret_sha256', sa.LargeBinary, nullable=False),
        sa.Column('project', sa.Text(collation='C'), nullable=False),
        sa.Column('roles', postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column('name', sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column('queues', sa.Text),
        sa.Column(
            'created_at',
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text('now()'),
        ),
        sa.Column('expires_at', sa.DateTime(timezone=True)),
        sa.Column('last_used_at', sa.DateTime(timezone=True)),
        sa.Column('revoked_at', sa.DateTime(timezone=True)),
    )
    op.create_index('tokens_by_project', 'tokens', ['project', 'id'])
    op.create_table(
        'project_limits',
        sa.Column('project', sa.Text(collation='C'), primary_key=True),
        sa.Column('setting', sa.Text(collation='C'), primary_key=True),
        sa.Column('value', sa.BigInteger),
    )


def downgrade() -> None:
    """Drop the tables, and with them all tokens."""
    op.drop_table('project_limits')
    op.drop_table('tokens')
