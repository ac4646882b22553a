"""How long answers took, by hour and day, and how credentials have been."""

from __future__ import annotations

import sqlalchemy as sa

from gproxy.storage.migrations.ddl import create_index, create_table

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables. Latencies are counted from now on."""
    create_table(
        "latency_rollups",
        sa.Column("period", sa.String(4), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("provider_name", sa.String(200), nullable=False),
        sa.Column("model_served", sa.String(200), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("first_bytes", sa.BigInteger(), nullable=False),
        sa.Column("totals", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("period", "starts_at", "provider_name", "model_served", "bucket"),
    )
    create_table(
        "credential_history",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("credential_id", sa.String(36), nullable=False),
        sa.Column("scope", sa.String(200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    create_index("credential_history", "credential_id", "at", "id")
    create_index("credential_history", "at", "id")
