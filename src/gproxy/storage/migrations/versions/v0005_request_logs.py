"""Logs of requests, and their bodies apart from them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGTEXT

from gproxy.storage.migrations.ddl import create_index, create_table

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    """Create both tables."""
    create_table(
        "request_logs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("side", sa.String(40), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.String(200), nullable=True),
        sa.Column("provider_name", sa.String(200), nullable=True),
        sa.Column("model_asked", sa.String(200), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column("total_ms", sa.BigInteger(), nullable=False),
        sa.Column("envelope_json", LONG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    create_index("request_logs", "at", "id")
    create_index("request_logs", "request_id")
    create_table(
        "request_bodies",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("request_text", LONG, nullable=False),
        sa.Column("response_text", LONG, nullable=False),
        sa.Column("truncated", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    create_index("request_bodies", "at")
