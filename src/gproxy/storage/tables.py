"""All tables in one readable place, as SQLAlchemy metadata.

Imported only by the migration tool and by the test that compares model and database; the running gateway never
loads it. Types are the ones on which the three engines agree: ids String(36), names String(200), money in
nano-USD and times in microseconds since the epoch as BigInteger, flags as SmallInteger 0/1, JSON as Text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import LONGTEXT

from gproxy.storage.usage_values import ROLLUP_SUMS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

ID = String(36)
NAME = String(200)
WORD = String(40)
LONG = Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def _table(name: str, *columns: Any) -> Table:
    # Names are compared byte by byte on every engine; MySQL's default would take Alice for alice.
    return Table(name, metadata, *columns, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def _id() -> Column[str]:
    return Column("id", ID, primary_key=True)


def _flag(name: str) -> Column[int]:
    return Column(name, SmallInteger, nullable=False)


def _need(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _owner(name: str, target: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, ID, ForeignKey(target, ondelete="CASCADE"), nullable=nullable)


def _life() -> tuple[Column[Any], ...]:
    """When a row was made and changed, and a version that a writer can insist on (`If-Match`)."""
    return (_need("created_at", BigInteger), _need("updated_at", BigInteger), _need("version", Integer))


users = _table(
    "users",
    _id(),
    Column("name", NAME, nullable=False),
    Column("password", Text),  # sealed PHC string; NULL: cannot log in
    _flag("is_admin"),
    _flag("enabled"),
    *_life(),
    UniqueConstraint("name"),
)

user_keys = _table(
    "user_keys",
    _id(),
    _owner("user_id", "users.id"),
    _need("api_key", Text),  # sealed
    Column("digest", String(64), nullable=False),  # HMAC-SHA256, hex: how a key is looked up
    _need("masked", WORD),
    Column("label", NAME),
    _flag("enabled"),
    Column("expires_at", BigInteger),
    Column("on_disconnect", WORD),
    *_life(),
    UniqueConstraint("digest"),
    Index(None, "user_id"),
)

providers = _table(
    "providers",
    _id(),
    Column("name", NAME, nullable=False),
    _need("channel", NAME),
    Column("label", NAME),
    _flag("enabled"),
    _need("settings_json", Text),
    *_life(),
    UniqueConstraint("name"),
)

credentials = _table(
    "credentials",
    _id(),
    _owner("provider_id", "providers.id"),
    Column("label", NAME),
    _flag("enabled"),
    _need("weight", Integer),
    _need("secret_json", Text),  # sealed
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("max_in_flight", BigInteger),
    *_life(),
    Index(None, "provider_id"),
)

# No foreign key: health is written in the background and a credential may be gone by then.
credential_statuses = _table(
    "credential_statuses",
    _need("credential_id", ID),
    _need("scope", NAME),  # "" for the whole credential, otherwise the model
    _need("state", WORD),
    Column("until", BigInteger),
    Column("reason", Text),
    _need("backoff", Integer),
    _need("updated_at", BigInteger),
    PrimaryKeyConstraint("credential_id", "scope"),
)

# What the statuses above were before, for as long as request logs are kept. No foreign key, for the same reason.
credential_history = _table(
    "credential_history",
    _id(),
    _need("credential_id", ID),
    _need("scope", NAME),
    _need("at", BigInteger),
    _need("state", WORD),
    Column("until", BigInteger),
    Column("reason", Text),
    Index(None, "credential_id", "at", "id"),
    Index(None, "at", "id"),
)

models = _table(
    "models",
    _id(),
    _owner("provider_id", "providers.id"),
    _need("model_id", NAME),
    Column("display_name", NAME),
    _flag("enabled"),
    Column("pricing_json", Text),
    Column("max_output_tokens", BigInteger),
    *_life(),
    UniqueConstraint("provider_id", "model_id"),
)

model_aliases = _table(
    "model_aliases",
    _id(),
    Column("alias", NAME, nullable=False),
    _owner("provider_id", "providers.id"),
    _need("model_id", NAME),
    _flag("enabled"),
    Column("pricing_json", Text),
    *_life(),
    UniqueConstraint("alias"),
    Index(None, "provider_id"),
)

routes = _table(
    "routes",
    _id(),
    Column("name", NAME, nullable=False),
    _need("strategy", WORD),
    _flag("enabled"),
    Column("hedge_percentile", Integer),
    *_life(),
    UniqueConstraint("name"),
)

route_members = _table(
    "route_members",
    _owner("route_id", "routes.id"),
    _need("ordinal", Integer),
    _owner("provider_id", "providers.id"),
    _need("model_id", NAME),
    _need("tier", Integer),
    _need("weight", Integer),
    PrimaryKeyConstraint("route_id", "ordinal"),
    Index(None, "provider_id"),
)

# Two rows may not be equal; NULL providers defeat a unique constraint, so the writer checks (writes are serialized).
permissions = _table(
    "permissions",
    _id(),
    _owner("user_id", "users.id"),
    _owner("provider_id", "providers.id", nullable=True),
    _need("model_pattern", NAME),
    *_life(),
    Index(None, "user_id"),
    Index(None, "provider_id"),
)

file_permissions = _table(
    "file_permissions",
    _id(),
    _owner("user_id", "users.id"),
    _owner("provider_id", "providers.id"),
    *_life(),
    UniqueConstraint("user_id", "provider_id"),
    Index(None, "provider_id"),
)

rate_limits = _table(
    "rate_limits",
    _id(),
    _owner("user_id", "users.id"),
    _need("model_pattern", NAME),
    Column("rpm", BigInteger),
    Column("rpd", BigInteger),
    Column("total_tokens", BigInteger),
    _need("total_tokens_window", BigInteger),
    *_life(),
    UniqueConstraint("user_id", "model_pattern"),
)

# No foreign key: what a deleted user has spent stays on record, and late rows of theirs must not be refused.
user_quotas = _table(
    "user_quotas",
    Column("user_id", ID, primary_key=True),
    Column("quota_nano_usd", BigInteger),  # NULL: unlimited
    _need("cost_used_nano_usd", BigInteger),
    _need("reserved_nano_usd", BigInteger),
    _need("updated_at", BigInteger),
    _need("version", Integer),
)

# What requests hold against budgets where several processes share them. A `spent` hold is an attempt that has ended
# and whose row has not landed yet: it goes in the transaction that brings the row.
quota_holds = _table(
    "quota_holds",
    _id(),  # of the request, or of the attempt when it is spent
    _need("user_id", ID),
    _need("amount_nano_usd", BigInteger),
    _need("instance", ID),
    _flag("spent"),
    _need("expires_at", BigInteger),
    Index(None, "user_id"),
    Index(None, "instance"),
    Index(None, "expires_at"),
)

# Processes that serve this database at the moment: how each knows its share of a limit.
instances = _table(
    "instances",
    _id(),
    _need("seen_at", BigInteger),
)

usages = _table(
    "usages",
    Column("attempt_id", ID, primary_key=True),
    _need("request_id", ID),
    _need("at", BigInteger),
    _need("user_id", ID),
    _need("user_name", NAME),
    _need("key_id", ID),
    _need("provider_name", NAME),
    _need("credential_id", ID),
    _need("channel", NAME),
    _need("dialect_in", WORD),
    _need("dialect_out", WORD),
    _need("operation", WORD),
    _need("model_asked", NAME),
    _need("model_served", NAME),
    Column("route_name", NAME),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_read_tokens", BigInteger),
    Column("cache_write_5m_tokens", BigInteger),
    Column("cache_write_1h_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("audio_tokens", BigInteger),
    _need("cost_nano_usd", BigInteger),
    _need("price_version", NAME),
    _need("source", WORD),
    _need("outcome", WORD),
    _need("status", Integer),
    _need("attempt_no", Integer),
    Column("first_byte_ms", BigInteger),
    _need("total_ms", BigInteger),
    _flag("streamed"),
    _need("excess_nano_usd", BigInteger),
    Index(None, "at", "attempt_id"),
    Index(None, "user_id", "at", "attempt_id"),
    Index(None, "provider_name", "at", "attempt_id"),
    Index(None, "request_id"),
)

usage_quarantine = _table(
    "usage_quarantine",
    _id(),
    Column("attempt_id", NAME),
    _need("at", BigInteger),
    _need("reason", Text),
    _need("raw", LONG),
)

usage_rollups = _table(
    "usage_rollups",
    _need("period", String(4)),  # hour or day, UTC
    _need("starts_at", BigInteger),
    _need("user_id", ID),
    _need("provider_name", NAME),
    _need("model_served", NAME),
    *(_need(name, BigInteger) for name in ROLLUP_SUMS),
    PrimaryKeyConstraint("period", "starts_at", "user_id", "provider_name", "model_served"),
)

# The same sums by one column of the ledger at a time (`usage_values.DIMENSIONS`). The key begins with what is asked for,
# so that a reader touches the rows of one dimension and one span only.
usage_rollups_by = _table(
    "usage_rollups_by",
    _need("period", String(4)),  # hour or day, UTC
    _need("dimension", WORD),
    _need("starts_at", BigInteger),
    _need("value", NAME),
    *(_need(name, BigInteger) for name in ROLLUP_SUMS),
    PrimaryKeyConstraint("period", "dimension", "starts_at", "value"),
)

# How many whole answers took how long; `bucket` is a number of `ledger.latency`.
latency_rollups = _table(
    "latency_rollups",
    _need("period", String(4)),  # hour or day, UTC
    _need("starts_at", BigInteger),
    _need("provider_name", NAME),
    _need("model_served", NAME),
    _need("bucket", SmallInteger),
    _need("first_bytes", BigInteger),
    _need("totals", BigInteger),
    PrimaryKeyConstraint("period", "starts_at", "provider_name", "model_served", "bucket"),
)

# What retention has taken out of `usages`, and what a seed file said had been spent before.
usage_retired = _table(
    "usage_retired",
    Column("user_id", ID, primary_key=True),
    _need("attempts", BigInteger),
    _need("cost_nano_usd", BigInteger),
)

journal_positions = _table(
    "journal_positions",
    Column("journal_id", NAME, primary_key=True),
    _need("segment", BigInteger),
    _need("byte_offset", BigInteger),
    _need("updated_at", BigInteger),
)

shutdowns = _table(
    "shutdowns",
    _id(),
    _need("at", BigInteger),
    Column("signal_name", WORD),
    _need("exit_code", Integer),
    _need("duration_ms", BigInteger),
    _need("report_json", Text),
    Index(None, "at", "id"),
)

settings = _table(
    "settings",
    Column("name", NAME, primary_key=True),
    _need("value", Text),
    _need("updated_at", BigInteger),
)

revisions = _table(
    "revisions",
    Column("id", Integer, primary_key=True, autoincrement=False),
    _need("revision", BigInteger),
    _need("updated_at", BigInteger),
)

# What each revision changed, row by row, as stored (secrets sealed): what a rollback puts back.
config_history = _table(
    "config_history",
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    _need("at", BigInteger),
    Column("actor_id", ID),
    _need("actor_name", NAME),
    Column("address", NAME),
    _need("action", WORD),
    _need("row_count", Integer),
    _need("changes_json", LONG),
)

request_logs = _table(
    "request_logs",
    _id(),
    _need("request_id", ID),
    _need("side", WORD),
    _need("at", BigInteger),
    Column("user_name", NAME),
    Column("provider_name", NAME),
    Column("model_asked", NAME),
    _need("status", Integer),
    _need("outcome", WORD),
    _need("total_ms", BigInteger),
    _need("envelope_json", LONG),
    Index(None, "at", "id"),
    Index(None, "request_id"),
)

# By the id of the log row; apart from it, because bodies are large and go earlier.
request_bodies = _table(
    "request_bodies",
    _id(),
    _need("at", BigInteger),
    _need("request_text", LONG),
    _need("response_text", LONG),
    _flag("truncated"),
    Index(None, "at"),
)

# One row per request whose trail is kept: every failure, and a share of the others.
request_trails = _table(
    "request_trails",
    Column("request_id", ID, primary_key=True),
    _need("at", BigInteger),
    Column("user_name", NAME),
    _need("status", Integer),
    _need("trail_json", LONG),
    Index(None, "at", "request_id"),
)

# Apart from the keys and without a foreign key: it is written in the background, is no part of the configuration and
# of its history, and a key may be gone by then.
key_uses = _table(
    "key_uses",
    Column("key_id", ID, primary_key=True),
    _need("last_used_at", BigInteger),
)

# Answers that a later request may go on from. With their user they go too: they are what was said. Of those that a
# provider keeps, only whose they are and where; their texts are empty.
kept_responses = _table(
    "kept_responses",
    _need("id", NAME),  # as its client knows it: the gateway's, or a vendor's, which may not be unique
    _owner("user_id", "users.id"),
    _need("conversation_id", NAME),  # the id of the conversation's first
    Column("previous_id", NAME),
    _need("at", BigInteger),
    _need("size", BigInteger),  # of both texts together, so that a long conversation is noticed before it is read
    _need("said_json", LONG),
    _need("answer_json", LONG),
    Column("provider_name", NAME),
    Column("credential_id", ID),
    PrimaryKeyConstraint("user_id", "id"),
    Index(None, "id"),
    Index(None, "conversation_id", "at"),
)

audit = _table(
    "audit",
    _id(),
    _need("at", BigInteger),
    Column("actor_id", ID),
    _need("actor_name", NAME),
    Column("address", NAME),
    _need("action", WORD),
    _need("resource", WORD),
    Column("resource_id", NAME),
    Column("before_json", Text),
    Column("after_json", Text),
    Index(None, "at", "id"),
)

sessions = _table(
    "sessions",
    _id(),
    _owner("user_id", "users.id"),
    Column("digest", String(64), nullable=False),  # HMAC-SHA256 of the token, hex
    Column("address", NAME),
    _need("created_at", BigInteger),
    _need("expires_at", BigInteger),
    UniqueConstraint("digest"),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

# One row per account name and per address that somebody tried to log in from; `tries_json` are their moments.
login_tries = _table(
    "login_tries",
    Column("subject", String(64), primary_key=True),  # HMAC-SHA256, hex: guessed names are nobody's business
    _need("tries_json", Text),
    _need("updated_at", BigInteger),
    Index(None, "updated_at"),
)
