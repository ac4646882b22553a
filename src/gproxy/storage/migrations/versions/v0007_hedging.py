"""When a route starts a second attempt."""

from __future__ import annotations

import sqlalchemy as sa

from gproxy.storage.migrations.ddl import add_column

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Routes that there are hedge nothing."""
    add_column("routes", sa.Column("hedge_percentile", sa.Integer(), nullable=True))
