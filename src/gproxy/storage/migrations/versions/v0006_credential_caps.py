"""How much one credential may be asked for."""

from __future__ import annotations

import sqlalchemy as sa

from gproxy.storage.migrations.ddl import add_column

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Credentials that there are have no caps."""
    for name in ("rpm", "tpm", "max_in_flight"):
        add_column("credentials", sa.Column(name, sa.BigInteger(), nullable=True))
