"""Totals of the ledger by key, route, credential and each other column that people group by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gproxy.storage.migrations.ddl import create_table

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
WORDS = (
    "key_id", "route_name", "credential_id", "channel", "operation", "dialect_in", "dialect_out", "model_asked",
    "outcome",
)  # fmt: skip
SUMS = (
    "attempts", "failures", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "reasoning_tokens", "cost_nano_usd",
)  # fmt: skip


def upgrade() -> None:
    """Create the table and fill it from the rows there are; of rows that retention took nothing more is known."""
    create_table(
        "usage_rollups_by",
        sa.Column("period", sa.String(4), nullable=False),
        sa.Column("dimension", sa.String(40), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint("period", "dimension", "starts_at", "value"),
    )
    fill()


def fill() -> None:
    """Day by day, through the index of times: statements stay small however long the ledger is."""
    bind = op.get_bind()
    rollups = sa.table("usage_rollups_by", *(sa.column(name, sa.String()) for name in ("period", "dimension")),
                       sa.column("starts_at", sa.BigInteger()), sa.column("value", sa.String()),
                       *(sa.column(name, sa.BigInteger()) for name in SUMS))  # fmt: skip
    at = sa.table("usages", sa.column("at", sa.BigInteger())).c.at
    bind.execute(sa.delete(rollups))  # what an interrupted run left
    day = 0
    while (first := bind.execute(sa.select(sa.func.min(at)).where(at >= day)).scalar()) is not None:
        day = first - first % DAY_US
        for dimension in (*WORDS, "streamed"):
            bind.execute(sa.insert(rollups).from_select(list(rollups.c.keys()), _hours(dimension, day)))
        days = (
            sa.select(
                sa.literal_column("'day'"),
                rollups.c.dimension,
                sa.literal(day, sa.BigInteger()),
                rollups.c.value,
                *(sa.func.sum(rollups.c[name]) for name in SUMS),
            )
            .where(rollups.c.period == "hour", rollups.c.starts_at >= day, rollups.c.starts_at < day + DAY_US)
            .group_by(rollups.c.dimension, rollups.c.value)
        )
        bind.execute(sa.insert(rollups).from_select(list(rollups.c.keys()), days))
        day += DAY_US


def _hours(dimension: str, day: int) -> sa.Select[tuple[object, ...]]:
    """The rows of one day, summed up by hour and value of a column."""
    of = sa.table("usages", *(sa.column(name, sa.BigInteger()) for name in (
        "at", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
        "reasoning_tokens", "cost_nano_usd", "streamed",
    )), *(sa.column(name, sa.String()) for name in WORDS)).c  # fmt: skip
    value: sa.ColumnElement[str]
    if dimension == "streamed":
        value = sa.case((of.streamed == 1, sa.literal_column("'true'")), else_=sa.literal_column("'false'"))
    else:
        value = sa.func.coalesce(of[dimension], sa.literal_column("''"))
    # Named in a query of its own: PostgreSQL does not take two texts with parameters for the same expression.
    row = (
        sa.select(
            (of.at - of.at % HOUR_US).label("starts_at"),
            value.label("value"),
            sa.case((of.outcome == "failed", 1), else_=0).label("failures"),
            sa.func.coalesce(of.input_tokens, 0).label("input_tokens"),
            sa.func.coalesce(of.output_tokens, 0).label("output_tokens"),
            sa.func.coalesce(of.cache_read_tokens, 0).label("cache_read_tokens"),
            (sa.func.coalesce(of.cache_write_5m_tokens, 0) + sa.func.coalesce(of.cache_write_1h_tokens, 0)).label(
                "cache_write_tokens"
            ),
            sa.func.coalesce(of.reasoning_tokens, 0).label("reasoning_tokens"),
            of.cost_nano_usd,
        )
        .where(of.at >= day, of.at < day + DAY_US)
        .subquery("each_row")
    )
    return sa.select(
        sa.literal_column("'hour'"),
        sa.literal_column(f"'{dimension}'"),
        row.c.starts_at,
        row.c.value,
        sa.func.count(),
        *(sa.func.sum(row.c[name]) for name in SUMS[1:]),
    ).group_by(row.c.starts_at, row.c.value)
