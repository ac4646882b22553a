"""Answers kept for their callers, so that a conversation can go on by the id of its last one."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGTEXT

from gproxy.storage.migrations.ddl import create_index, create_table

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    """Create the table."""
    create_table(
        "kept_responses",
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("conversation_id", sa.String(200), nullable=False),
        sa.Column("previous_id", sa.String(200), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("said_json", LONG, nullable=False),
        sa.Column("answer_json", LONG, nullable=False),
        sa.Column("provider_name", sa.String(200), nullable=True),
        sa.Column("credential_id", sa.String(36), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_kept_responses_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "id"),
    )
    create_index("kept_responses", "id")
    create_index("kept_responses", "conversation_id", "at")
