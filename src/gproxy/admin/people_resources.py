"""The resources that say who may: users, keys, permissions, file permissions, rate limits, budgets."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr

from gproxy.admin.errors import Problem, invalid
from gproxy.admin.fields import (
    Count,
    Flag,
    Moment,
    Name,
    Password,
    Pattern,
    Shape,
    Shown,
    Usd,
    nano,
    optional,
    secret,
    usd,
)
from gproxy.admin.ports import Ports, Row, Writer
from gproxy.admin.reach import all_rows
from gproxy.admin.resource import Given, Resource, referred
from gproxy.admin.upstream_resources import Life
from gproxy.secret import Secret
from gproxy.seed.schema import DAY_SECONDS

OnDisconnect = Literal["cancel", "finish"]
ApiKey = Annotated[SecretStr, Field(min_length=8, max_length=500)]
Window = Annotated[int, Field(strict=True, ge=1, le=366 * DAY_SECONDS, description="Seconds.")]


class User(Life):
    """A tenant."""

    name: str
    is_admin: bool
    enabled: bool
    has_password: bool = Field(description="Whether the user can log in.")
    key_count: int


class UserCreate(Shape):
    """A new user. Without a password they can use keys but not log in."""

    name: Name
    password: Password | None = None
    is_admin: Flag = False
    enabled: Flag = True


class UserPatch(Shape):
    """What to change. A new password, a change of role or switching off ends the user's sessions."""

    name: Name = optional()
    password: Password | None = Field(default=None, description="null: cannot log in any more.")
    is_admin: Flag = optional()
    enabled: Flag = optional()


class Owned(Life):
    """A row that belongs to a user."""

    user_id: str
    user_name: str


class ForUser(Shape):
    """A new row of a user, who is named by either field."""

    user_id: Name | None = None
    user_name: Name | None = None


class Key(Owned):
    """An API key; only its masked form can be read."""

    masked: str
    label: str | None
    enabled: bool
    expires_at: int | None = Field(description="Microseconds since the epoch, UTC; null: never.")
    on_disconnect: OnDisconnect | None = Field(description="null: the provider's own policy.")
    last_used_at: int | None = Field(description="About when, within half a minute; null: not since this is noted.")


class KeyMade(Key):
    """A key just made: the only time it is shown."""

    api_key: str


class KeyCreate(ForUser):
    """A new key, generated unless given."""

    label: Name | None = None
    enabled: Flag = True
    expires_at: Moment | None = None
    on_disconnect: OnDisconnect | None = None
    api_key: ApiKey | None = Field(default=None, description="To take over a key that is in use elsewhere.")


class KeyPatch(Shape):
    """What to change."""

    label: Name | None = None
    enabled: Flag = optional()
    expires_at: Moment | None = None
    on_disconnect: OnDisconnect | None = None


class Permission(Owned):
    """A user may call models whose name fits the pattern, at one provider or any."""

    provider_id: str | None
    provider_name: str | None
    model_pattern: str


class PermissionCreate(ForUser):
    """A new permission; without a provider it holds for any."""

    provider_id: Name | None = None
    provider_name: Name | None = None
    model_pattern: Pattern


class PermissionPatch(Shape):
    """What to change; a provider of null means any."""

    provider_id: Name | None = None
    provider_name: Name | None = None
    model_pattern: Pattern = optional()


class FilePermission(Owned):
    """A user may use a provider's file API."""

    provider_id: str
    provider_name: str


class FilePermissionCreate(ForUser):
    """A new file permission."""

    provider_id: Name | None = None
    provider_name: Name | None = None


class FilePermissionPatch(Shape):
    """What to change."""

    provider_id: Name = optional()
    provider_name: Name = optional()


class RateLimit(Owned):
    """At least one of `rpm`, `rpd` and `total_tokens` limits."""

    model_pattern: str
    rpm: int | None
    rpd: int | None
    total_tokens: int | None
    total_tokens_window: int = Field(description="Seconds.")


class RateLimitCreate(ForUser):
    """A new rate limit."""

    model_pattern: Pattern
    rpm: Count | None = None
    rpd: Count | None = None
    total_tokens: Count | None = None
    total_tokens_window: Window = DAY_SECONDS


class RateLimitPatch(Shape):
    """What to change."""

    model_pattern: Pattern = optional()
    rpm: Count | None = None
    rpd: Count | None = None
    total_tokens: Count | None = None
    total_tokens_window: Window = optional()


class Quota(Shown):
    """A user's budget, in USD as decimal texts. The id is the user's."""

    id: str
    user_id: str
    user_name: str
    quota: str | None = Field(description="null: unlimited.")
    cost_used: str
    reserved: str
    remaining: str | None = Field(description="Never below 0; null: unlimited.")
    updated_at: int
    version: int


class QuotaCreate(ForUser):
    """A budget for a user."""

    quota: Usd | None = Field(description="null: unlimited.")


class QuotaPatch(Shape):
    """A new limit; what was spent stays."""

    quota: Usd | None = Field(description="null: unlimited.")


async def _hashed(ports: Ports, given: Given) -> None:
    if "password" not in given:
        return
    password = given.pop("password")
    if password is None:
        given["password_hash"] = None
        return
    # A hash in the place of a password is the seed file's way to carry users over. Here it would let a caller
    # choose how much memory a login costs.
    if password.get_secret_value().startswith("$argon2"):
        raise invalid("password: must be the password itself, not a hash of it", "password")
    given["password_hash"] = await ports.doors.hash_password(secret(password))


async def _user(_ports: Ports, _writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    if before is None:
        given.setdefault("password_hash", None)
    return given


async def _an_admin_remains(writer: Writer, before: Row) -> None:
    if before["is_admin"] and before["enabled"] and await writer.enabled_admins() == 0:
        raise Problem(409, f"{before['name']!r} is the last enabled administrator", code="last_admin")


async def _key(_ports: Ports, writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    if before is None:
        await _owned(writer, given)
        held = given.get("api_key")
        given["api_key"] = None if held is None else _usable(secret(held), held.get_secret_value())
    return given


def _usable(held: Secret, text: str) -> Secret:
    if any(not "!" <= c <= "~" for c in text):
        raise invalid("api_key: must be printable ASCII without spaces, or no header can carry it", "api_key")
    return held


async def _owned(writer: Writer, given: Given) -> None:
    await referred(writer, "users", "user", given)


async def _permission(_ports: Ports, writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    if before is None:
        await _owned(writer, given)
    named = given.keys() & {"provider_id", "provider_name"}
    provider = await referred(writer, "providers", "provider", given, required=False)
    if provider is None and (before is None or named):
        given["provider_id"] = None
    if before is not None:
        await _no_twin(writer, {**before, **given})
    return given


async def _no_twin(writer: Writer, wanted: Row) -> None:
    """No unique constraint can say it where the provider may be absent."""
    for row in await all_rows(writer, "permissions", user_id=wanted["user_id"]):
        same = all(row[name] == wanted[name] for name in ("provider_id", "model_pattern"))
        if same and row["id"] != wanted["id"]:
            raise Problem(409, "the user has this permission already", field="model_pattern")


async def _file_permission(_ports: Ports, writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    if before is None:
        await _owned(writer, given)
    await referred(writer, "providers", "provider", given, required=before is None)
    return given


async def _rate_limit(_ports: Ports, writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    if before is None:
        await _owned(writer, given)
    wanted = {**(before or {}), **given}
    if all(wanted.get(name) is None for name in ("rpm", "rpd", "total_tokens")):
        raise invalid("rpm: the row limits nothing; give rpm, rpd or total_tokens", "rpm")
    return given


async def _quota(_ports: Ports, writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    if before is None:
        await _owned(writer, given)
    if before is None or "quota" in given:
        given["quota_nano_usd"] = nano(given.pop("quota"))
    return given


def _with_rest(_ports: Ports, rows: Sequence[Row]) -> None:
    for row in rows:
        row["remaining"] = remaining(row)


def remaining(row: Row) -> str | None:
    """What is left of a budget, as a decimal text; never below 0."""
    if row["quota"] is None:
        return None
    return usd(max(Decimal(row["quota"]) - Decimal(row["cost_used"]) - Decimal(row["reserved"]), Decimal(0)))


_OWNER: Final[dict[str, type]] = {"user_id": str, "user_name": str}
_OF: Final[dict[str, type]] = {**_OWNER, "provider_id": str, "provider_name": str}

PEOPLE: Final = (
    Resource(
        "users", "user", User, UserCreate, UserPatch, _user,
        {"name": str, "is_admin": bool, "enabled": bool}, "name", prepare=_hashed, guard=_an_admin_remains,
        text="Tenants and administrators.",
    ),
    Resource(
        "keys", "key", Key, KeyCreate, KeyPatch, _key,
        {**_OWNER, "label": str, "enabled": bool}, "api_key", made=KeyMade, ids_only=True,
        text="API keys. In clear once, at creation; later masked.",
    ),
    Resource(
        "permissions", "permission", Permission, PermissionCreate, PermissionPatch, _permission,
        {**_OF, "model_pattern": str}, "model_pattern",
        text="Who may call which models. Patterns are globs: `*`, `?`, `[…]`.",
    ),
    Resource(
        "file_permissions", "file permission", FilePermission, FilePermissionCreate, FilePermissionPatch,
        _file_permission, _OF, "provider_name",
        text="Who may use a provider's file API.",
    ),
    Resource(
        "rate_limits", "rate limit", RateLimit, RateLimitCreate, RateLimitPatch, _rate_limit,
        {**_OWNER, "model_pattern": str}, "model_pattern",
        text="Requests per minute and day, tokens per window.",
    ),
    Resource(
        "quotas", "quota", Quota, QuotaCreate, QuotaPatch, _quota, _OWNER, "user_name", dress=_with_rest,
        text="Budgets in USD. A user without one is unlimited; deleting one makes the user unlimited.",
    ),
)  # fmt: skip

USERS: Final = next(each for each in PEOPLE if each.name == "users")
KEYS: Final = next(each for each in PEOPLE if each.name == "keys")
