"""Holds on budgets that several processes share, and which processes there are."""

from __future__ import annotations

import sqlalchemy as sa

from gproxy.storage.migrations.ddl import create_index, create_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    create_table(
        "quota_holds",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("amount_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("instance", sa.String(36), nullable=False),
        sa.Column("spent", sa.SmallInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    create_index("quota_holds", "user_id")
    create_index("quota_holds", "instance")
    create_index("quota_holds", "expires_at")
    create_table(
        "instances",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
