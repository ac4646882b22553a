"""What was decided about requests, and when keys were last used."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGTEXT

from gproxy.storage.migrations.ddl import create_index, create_table

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    """Create both tables."""
    create_table(
        "request_trails",
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.String(200), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("trail_json", LONG, nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    create_index("request_trails", "at", "request_id")
    create_table(
        "key_uses",
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
