"""Sessions of people, and the tries to log in that are held against a name or an address."""

from __future__ import annotations

import sqlalchemy as sa

from gproxy.storage.migrations.ddl import create_index, create_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    create_table(
        "sessions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("address", sa.String(200), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name="fk_sessions_user_id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name="uq_sessions_digest"),
    )
    create_index("sessions", "user_id")
    create_index("sessions", "expires_at")
    create_table(
        "login_tries",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("tries_json", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    create_index("login_tries", "updated_at")
