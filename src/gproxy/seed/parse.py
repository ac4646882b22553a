"""A seed file's text → `Seed`, or every problem in it. No files, no database: text and environment are arguments."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Final

from gproxy.channels.overrides import ON_DISCONNECT, address_of, check_credential, check_settings
from gproxy.channels.vendor import Vendor
from gproxy.routing.selection import STRATEGIES
from gproxy.secret import Secret
from gproxy.seed.environment import filled
from gproxy.seed.problems import Problem, SeedProblems
from gproxy.seed.rows import LARGEST, Row, did_you_mean, kind_of
from gproxy.seed.schema import (
    BOOTSTRAP_KEYS,
    DAY_SECONDS,
    GLOBAL_KEYS,
    HEDGE_PERCENTILES,
    Scalar,
    Seed,
    SeedAlias,
    SeedCredential,
    SeedFilePermission,
    SeedKey,
    SeedModel,
    SeedPermission,
    SeedProvider,
    SeedQuota,
    SeedRateLimit,
    SeedRoute,
    SeedUser,
    kept_fault,
    pattern_fault,
    provider_name_fault,
)
from gproxy.snapshot import Member

CheckSetting = Callable[[str, str], str | None]
"""(name, value as text) → why the value is not acceptable, or None."""

_TABLES: Final = (
    "providers",
    "models",
    "model_aliases",
    "routes",
    "users",
    "permissions",
    "file_permissions",
    "rate_limits",
    "quotas",
)
_MOST_WEIGHT: Final = 1_000_000
_LONGEST_KEY: Final = 500
_DEEPEST: Final = 32


def parse(
    text: str,
    env: Mapping[str, str],
    channels: Mapping[str, Vendor],
    *,
    check_setting: CheckSetting | None = None,
) -> Seed:
    """Read a seed document (contract section 3).

    `channels` is the catalog. `check_setting` looks at the values of `[global]` more closely than their type.
    Raises `SeedProblems` with everything that is wrong: one reading is enough to mend a file.
    """
    try:
        document: dict[str, Any] = tomllib.loads(text.removeprefix("\ufeff"), parse_float=Decimal)
    except ValueError as error:
        raise SeedProblems([Problem("", None, None, f"not valid TOML: {error}")]) from error
    except RecursionError as error:
        raise SeedProblems([Problem("", None, None, "not valid TOML: nested too deeply")]) from error
    return read(document, env, channels, check_setting=check_setting)


def read(
    document: Mapping[str, Any],
    env: Mapping[str, str],
    channels: Mapping[str, Vendor],
    *,
    check_setting: CheckSetting | None = None,
) -> Seed:
    """The same for a document that was parsed elsewhere (JSON). Numbers with a fraction are `Decimal`."""
    return _Reader(env, channels, check_setting).read(dict(document))


class _Reader:
    """One reading: the problems found so far, and the names that later tables refer to."""

    def __init__(
        self, env: Mapping[str, str], channels: Mapping[str, Vendor], check_setting: CheckSetting | None
    ) -> None:
        self._env = env
        self._channels = channels
        self._check_setting = check_setting
        self._problems: list[Problem] = []
        self._seen: dict[tuple[str, object], int] = {}
        self._providers: set[str] = set()
        self._users: set[str] = set()

    def read(self, document: dict[str, Any]) -> Seed:
        for name in document:
            if name != "global" and name not in _TABLES:
                near = did_you_mean(name, ("global", *_TABLES))
                self._problems.append(Problem("", None, name, f"unknown table{near}"))
        tables = {name: self._rows(name, document.get(name)) for name in _TABLES}
        settings = self._global(document.get("global"))
        # Names first: a row may refer to a table that comes later in the file.
        providers = self._kept(self._provider, tables["providers"])
        users = self._kept(self._user, tables["users"])
        seed = Seed(
            settings,
            providers,
            self._kept(self._model, tables["models"]),
            self._kept(self._alias, tables["model_aliases"]),
            self._kept(self._route, tables["routes"]),
            users,
            self._kept(self._permission, tables["permissions"]),
            self._kept(self._file_permission, tables["file_permissions"]),
            self._kept(self._rate_limit, tables["rate_limits"]),
            self._kept(self._quota, tables["quotas"]),
        )
        if self._problems:
            order = {name: index for index, name in enumerate(("", "global", *_TABLES))}
            self._problems.sort(key=lambda each: (order[each.table], each.row or 0))
            raise SeedProblems(self._problems)
        return seed

    def _rows(self, table: str, value: object) -> list[Row]:
        if value is None:
            return []
        if not isinstance(value, list):
            self._problems.append(Problem(table, None, None, f"must be a list of tables: write [[{table}]]"))
            return []
        rows = []
        for number, each in enumerate(value, start=1):
            rows.append(Row(table, number, self._filled(table, number, each), self._problems))
        return rows

    def _filled(self, table: str, number: int | None, value: object) -> object:
        return filled(
            value, self._env, lambda path, sentence: self._problems.append(Problem(table, number, path, sentence))
        )

    def _kept(self, read: Callable[[Row], Any], rows: list[Row]) -> tuple[Any, ...]:
        return tuple(found for row in rows if row.usable and (found := read(row)) is not None)

    def _global(self, value: object) -> dict[str, Scalar]:
        if value is None:
            return {}
        row = Row("global", None, self._filled("global", None, value), self._problems)
        found: dict[str, Scalar] = {}
        for key, kinds in GLOBAL_KEYS.items():
            raw = row.take(key)
            if raw is None:
                continue
            setting: Any = float(raw) if isinstance(raw, Decimal) and raw.is_finite() else raw
            if type(setting) not in kinds:
                row.complain(key, f"is {kind_of(raw)}, which it cannot be")
                continue
            fault = kept_fault(key, setting) or (self._check_setting and self._check_setting(key, _as_text(setting)))
            if fault:
                row.complain(key, fault)
                continue
            found[key] = setting
        for key in row.rest():
            if key in BOOTSTRAP_KEYS:
                row.complain(key, f"is not kept in the database: give it as --{key.replace('_', '-')} or a variable")
            else:
                row.complain(key, f"unknown key{did_you_mean(key, GLOBAL_KEYS)}")
        return found

    def _provider(self, row: Row) -> SeedProvider | None:
        name = row.text("name", required=True)
        if name is not None:
            fault = provider_name_fault(name)
            if fault:
                row.complain("name", fault)
            self._once(row, "name", name)
            self._providers.add(name)
        channel = row.text("channel", required=True)
        vendor = self._channels.get(channel) if channel is not None else None
        if channel is not None and vendor is None:
            near = did_you_mean(channel, self._channels) or f"; there are {', '.join(sorted(self._channels))}"
            row.complain("channel", f"{channel!r} is not a channel{near}")
        label, enabled = row.text("label"), row.flag("enabled", default=True)
        settings = self._settings(row)
        if vendor is not None:
            _check_settings(row, vendor, settings)
        credentials = tuple(
            credential
            for each in row.rows("credentials")
            if each.usable and (credential := self._credential(each, vendor)) is not None
        )
        row.done()
        if name is None or channel is None:
            return None
        return SeedProvider(name, channel, label, enabled, settings, credentials)

    def _settings(self, row: Row) -> dict[str, Any]:
        value = row.take("settings")
        if value is None:
            return {}
        if not isinstance(value, dict):
            row.complain("settings", "must be a table")
            return {}
        plain: dict[str, Any] = _plain(value, row, "settings", 0)
        return plain

    def _credential(self, row: Row, vendor: Vendor | None) -> SeedCredential | None:
        label, enabled = row.text("label"), row.flag("enabled", default=True)
        weight = row.whole_or("weight", 1, least=0, most=_MOST_WEIGHT)
        rpm, tpm, at_once = (row.whole(name, least=1) for name in ("rpm", "tpm", "max_in_flight"))
        fields: dict[str, Secret] = {}
        for name, value in row.rest().items():
            if isinstance(value, dict):  # a service account, written as a table
                fields[name] = Secret(json.dumps(_plain(value, row, name, 0)))
            elif not isinstance(value, str):
                row.complain(name, f"must be a text, not {kind_of(value)}")
            elif "\0" in value:
                row.complain(name, "must not contain NUL")
            else:
                fields[name] = Secret(value)
        if vendor is not None:
            for problem in check_credential(vendor, fields):
                row.complain(problem.key or None, problem.text)
        return SeedCredential(fields, label, enabled, weight, rpm, tpm, at_once)

    def _model(self, row: Row) -> SeedModel | None:
        provider, model_id = self._known(row, "provider_name", self._providers), row.text("model_id", required=True)
        display, enabled = row.text("display_name"), row.flag("enabled", default=True)
        limit = row.whole("max_output_tokens", least=1)
        card = row.card()
        row.done(_PRICES)
        if provider is None or model_id is None:
            return None
        self._once(row, "model_id", (provider, model_id), shown=model_id)
        return SeedModel(provider, model_id, display, enabled, card, limit)

    def _alias(self, row: Row) -> SeedAlias | None:
        alias = row.text("alias", required=True)
        provider, model_id = self._known(row, "provider_name", self._providers), row.text("model_id", required=True)
        enabled = row.flag("enabled", default=True)
        card = row.card()
        row.done(_PRICES)
        if alias is not None:
            self._once(row, "alias", alias)
        if alias is None or provider is None or model_id is None:
            return None
        return SeedAlias(alias, provider, model_id, enabled, card)

    def _route(self, row: Row) -> SeedRoute | None:
        name = row.text("name", required=True)
        strategy = row.choice("strategy", STRATEGIES) or STRATEGIES[0]
        enabled = row.flag("enabled", default=True)
        least, most = HEDGE_PERCENTILES
        hedge = row.whole("hedge_percentile", least=least, most=most)
        found = [self._member(each) for each in row.rows("members") if each.usable]
        if not found:
            row.complain("members", "a route needs at least one member")
        row.done()
        if name is None:
            return None
        self._once(row, "name", name)
        return SeedRoute(name, strategy, tuple(member for member in found if member is not None), enabled, hedge)

    def _member(self, row: Row) -> Member | None:
        provider, model_id = self._known(row, "provider_name", self._providers), row.text("model_id", required=True)
        tier, weight = row.whole_or("tier", 0, most=1_000_000), row.whole_or("weight", 1, least=1, most=_MOST_WEIGHT)
        row.done()
        return None if provider is None or model_id is None else Member(provider, model_id, tier, weight)

    def _user(self, row: Row) -> SeedUser | None:
        name = row.text("name", required=True)
        if name is not None:
            self._once(row, "name", name)
            self._users.add(name)
        password = row.secret("password")
        if password is not None and password.reveal().startswith("$argon2") and not _argon2id(password.reveal()):
            row.complain("password", "looks like an Argon2 hash but is not an Argon2id PHC string this version accepts")
        is_admin, enabled = row.flag("is_admin", default=False), row.flag("enabled", default=True)
        keys = tuple(key for each in row.rows("keys") if each.usable and (key := self._key(each)) is not None)
        row.done()
        return None if name is None else SeedUser(name, password, is_admin, enabled, keys)

    def _key(self, row: Row) -> SeedKey | None:
        api_key = row.secret("api_key", required=True, most=_LONGEST_KEY)
        if api_key is not None and not all("!" <= c <= "~" for c in api_key.reveal()):
            row.complain("api_key", "must be printable ASCII without spaces: it travels in a header")
        label, enabled = row.text("label"), row.flag("enabled", default=True)
        expires_at, policy = row.moment("expires_at"), row.choice("on_disconnect", ON_DISCONNECT)
        row.done()
        if api_key is None:
            return None
        self._once(row, "api_key", ("key", api_key), shown=None)
        return SeedKey(api_key, label, enabled, expires_at, policy)

    def _permission(self, row: Row) -> SeedPermission | None:
        user, pattern = self._known(row, "user_name", self._users), self._pattern(row)
        provider = self._known(row, "provider_name", self._providers, required=False)
        row.done()
        if user is None or pattern is None:
            return None
        self._once(row, "model_pattern", (user, provider, pattern), shown=pattern)
        return SeedPermission(user, provider, pattern)

    def _file_permission(self, row: Row) -> SeedFilePermission | None:
        user = self._known(row, "user_name", self._users)
        provider = self._known(row, "provider_name", self._providers)
        row.done()
        if user is None or provider is None:
            return None
        self._once(row, "provider_name", (user, provider), shown=provider)
        return SeedFilePermission(user, provider)

    def _rate_limit(self, row: Row) -> SeedRateLimit | None:
        user, pattern = self._known(row, "user_name", self._users), self._pattern(row)
        rpm, rpd = row.whole("rpm"), row.whole("rpd")
        tokens = row.whole("total_tokens")
        window = row.whole_or("total_tokens_window", DAY_SECONDS, least=1, most=366 * DAY_SECONDS)
        row.done()
        if rpm is None and rpd is None and tokens is None:
            row.complain(None, "limits nothing: give rpm, rpd or total_tokens")
        if user is None or pattern is None:
            return None
        self._once(row, "model_pattern", (user, pattern), shown=pattern)
        return SeedRateLimit(user, pattern, rpm, rpd, tokens, window)

    def _quota(self, row: Row) -> SeedQuota | None:
        user = self._known(row, "user_name", self._users)
        quota, used = row.usd("quota"), row.usd("cost_used") or 0
        row.done()
        if user is None:
            return None
        self._once(row, "user_name", user)
        return SeedQuota(user, quota, used)

    def _pattern(self, row: Row) -> str | None:
        pattern = row.text("model_pattern", required=True)
        fault = None if pattern is None else pattern_fault(pattern)
        if fault:
            row.complain("model_pattern", fault)
        return pattern

    def _known(self, row: Row, key: str, names: Collection[str], *, required: bool = True) -> str | None:
        name = row.text(key, required=required)
        if name is not None and name not in names:
            what = key.removesuffix("_name")
            row.complain(key, f"there is no {what} named {name!r} in this file{did_you_mean(name, names)}")
        return name

    def _once(self, row: Row, key: str, value: object, *, shown: str | None = "") -> None:
        """Complain when an earlier row of the table has the same value."""
        first = self._seen.setdefault((f"{row.table}.{key}", value), row.number or 0)
        if first == (row.number or 0) and not (key == "api_key" and self._repeated_key(value)):
            return
        name = {None: "this secret", "": repr(value)}.get(shown, repr(shown))
        row.complain(key, f"{name} is given twice (first in number {first})")

    def _repeated_key(self, value: object) -> bool:
        """Two equal keys of one user have the same row number, so they are counted apart."""
        again = ("again", value) in self._seen
        self._seen[("again", value)] = 0
        return again


_PRICES: Final = ("price", "price_each_call", "price_tiers", "flex_price_tiers", "priority_price_tiers")


def _check_settings(row: Row, vendor: Vendor, settings: Mapping[str, Any]) -> None:
    problems = check_settings(vendor, settings)
    for problem in problems:
        row.complain(f"settings.{problem.key}" if problem.key else "settings", problem.text)
    if problems and settings.get("base_url") and not any(problem.key == "base_url" for problem in problems):
        # The channels look at the address only when all else is well; here everything is told at once.
        try:
            address_of(vendor, settings)
        except ValueError as error:
            row.complain("settings.base_url", str(error))


def _plain(value: Any, row: Row, path: str, depth: int) -> Any:
    """A value of a free table as JSON knows it."""
    if depth > _DEEPEST:
        row.complain(path, "is nested too deeply")
        return None
    if isinstance(value, dict):
        return {key: _plain(each, row, f"{path}.{key}", depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, row, f"{path}[{index}]", depth + 1) for index, each in enumerate(value, start=1)]
    if isinstance(value, Decimal):
        number = float(value)
        if number - number == 0:  # finite
            return number
        row.complain(path, "must be a finite number")
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        row.complain(path, "is too large a number")
        return 0
    if isinstance(value, str) and "\0" in value:
        row.complain(path, "must not contain NUL")
        return ""
    if not isinstance(value, str | int | bool):
        row.complain(path, "is a date or time; write it as a text")
        return ""
    return value


def _as_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _argon2id(phc: str) -> bool:
    """Whether a PHC string is complete and asks for no more memory and time than a login may cost."""
    parts = phc.split("$")
    if len(parts) != 6 or parts[1] != "argon2id" or parts[2] != "v=19" or not parts[4] or not parts[5]:
        return False
    try:
        costs = {name: int(number) for name, _, number in (pair.partition("=") for pair in parts[3].split(","))}
    except ValueError:
        return False
    return (
        set(costs) == {"m", "t", "p"} and 8 <= costs["m"] <= 2**20 and 1 <= costs["t"] <= 20 and 1 <= costs["p"] <= 16
    )
