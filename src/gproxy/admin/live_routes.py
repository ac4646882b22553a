"""The living parts: channels there are, stored settings, prices in force, requests in flight, reload."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from gproxy.admin.errors import invalid, not_found
from gproxy.admin.fields import Shape, Shown
from gproxy.admin.gate import caller_of
from gproxy.admin.paging import Cursor, Limit, Listed, after, cursor_of, listed
from gproxy.admin.ports import Ports, Row, SettingNote
from gproxy.admin.record_routes import Text
from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.vendor import Support, Vendor
from gproxy.ledger import price_data
from gproxy.ledger.pricing import RateCard
from gproxy.pipeline.exchange import Exchange
from gproxy.seed.schema import kept_fault

SettingName = Annotated[str, Path(max_length=200)]
Scalar = str | int | float | bool
_KINDS: Final = {str: "text", int: "whole number", float: "number", bool: "true or false"}


class Channel(Shown):
    """A kind of vendor."""

    name: str
    label: str
    docs: str
    base_url: str = Field(description="Empty: the provider's settings must say.")
    needs: list[str] = Field(description="Settings without which a provider cannot work.")
    keyless: bool
    credential_fields: list[list[str]] = Field(description="The sets of secret parts a credential may have.")
    optional_fields: list[str]
    dialects: list[str]
    operations: list[str]


class Channels(BaseModel):
    """All channels, by name."""

    items: list[Channel]


class Setting(Shown):
    """A setting that lives in the database. A flag or variable of the process goes before it."""

    name: str
    type: list[str]
    value: Scalar | None = Field(description="What is stored; null: nothing, so that the default holds.")
    default: str | None
    in_force: str | None = Field(description="What this process works with.")
    origin: str = Field(description="Where that comes from: flag, environment, stored, default.")
    needs_restart: bool = Field(description="Whether a new value counts from the next start on.")
    text: str


class Settings(BaseModel):
    """All stored settings."""

    items: list[Setting]


class SettingPatch(Shape):
    """A new value; null removes it, so that the default holds."""

    value: Scalar | None


class SettingsPatch(Shape):
    """Several at once, all or none."""

    values: dict[str, Scalar | None] = Field(min_length=1, max_length=100)


class Price(Shown):
    """What a model or alias costs now."""

    kind: Literal["model", "alias"]
    name: str = Field(description="`provider/model`, or the alias.")
    provider_name: str
    model_id: str
    source: Literal["own", "bundled", "none"]
    version: str | None
    pricing: dict[str, Any] | None


class BundledPrice(BaseModel):
    """A price of the list that comes with the gateway."""

    vendor: str
    model_id: str
    version: str
    pricing: dict[str, Any]


class Bundled(BaseModel):
    """Where the list comes from, its vendors, and the price asked for."""

    source: str
    vendors: list[str]
    price: BundledPrice | None


class InFlight(Shown):
    """A request that is being served."""

    request_id: str
    method: str
    path: str
    user_name: str | None
    operation: str
    dialect: str
    model_asked: str
    provider_name: str | None
    streamed: bool
    attempts: int
    age_ms: int
    answering: bool = Field(description="Whether the answer has begun.")
    output_tokens: int = Field(description="What a stream has brought so far, as seen once a second; an estimate.")


class StopPlan(BaseModel):
    """How a stop of this process goes: it accepts for `delay_ms` more, its requests get `drain_ms`, its workers flush."""

    delay_ms: int
    drain_ms: int
    worker_ms: int
    elapsed_ms: int | None = Field(description="Since the signal; null: nobody is stopping it.")


class InFlights(BaseModel):
    """Oldest first."""

    count: int
    limit: int
    items: list[InFlight]
    stop: StopPlan


class Reloaded(BaseModel):
    """The configuration as this process has it now."""

    revision: int
    problems: list[str] = Field(description="What had to be left out, and why.")


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the routes."""
    _add_channels(router, ports)
    _add_settings(router, ports)
    _add_prices(router, ports)

    async def in_flight() -> Row:
        now = ports.clock.monotonic()
        rows = sorted((_flying(x, now) for x in ports.in_flight), key=lambda row: -row["age_ms"])
        return {"count": len(rows), "limit": ports.in_flight.limit, "items": rows, "stop": _stop(ports)}

    async def reload(request: Request) -> Row:
        found = await ports.desk.reload()
        await ports.desk.record(caller_of(request).actor, "reload", "configuration", None)
        return found

    router.add_api_route("/admin/in_flight", in_flight, response_model=InFlights, operation_id="list_in_flight",
                         summary="List the requests being served by this process")  # fmt: skip
    router.add_api_route("/admin/reload", reload, methods=["POST"], response_model=Reloaded, operation_id="reload",
                         summary="Read the configuration anew",
                         description="Never needed after a change through this API; other processes follow by themselves.")  # fmt: skip


def _stop(ports: Ports) -> Row:
    plan = ports.stop_plan()
    return {
        "delay_ms": round(plan.delay * 1000),
        "drain_ms": round(plan.drain * 1000),
        "worker_ms": round(plan.worker * 1000),
        "elapsed_ms": None if plan.elapsed is None else round(plan.elapsed * 1000),
    }


def _flying(x: Exchange, now: float) -> Row:
    return {
        "request_id": x.request_id,
        "method": x.method,
        "path": x.path,
        "user_name": None if x.principal is None else x.principal.user_name,
        "operation": x.call.operation.value,
        "dialect": x.call.dialect.value,
        "model_asked": x.model_asked,
        "provider_name": x.provider_name,
        "streamed": x.stream,
        "attempts": x.attempts,
        "age_ms": int((now - x.started_at) * 1000),
        "answering": x.client.started,
        "output_tokens": x.tokens_seen,
    }


def _channel(vendor: Vendor) -> Row:
    scheme = SCHEMES[vendor.auth.kind]
    served = [entry for entry in vendor.endpoints.values() if entry.support is not Support.UNSUPPORTED]
    return {
        "name": vendor.name,
        "label": vendor.label,
        "docs": vendor.docs,
        "base_url": vendor.base_url,
        "needs": list(vendor.needs),
        "keyless": vendor.keyless,
        "credential_fields": [list(names) for names in scheme.field_sets],
        "optional_fields": list(scheme.optional),
        "dialects": sorted({entry.dialect.value for entry in served if entry.support is Support.NATIVE}),
        "operations": sorted({entry.operation.value for entry in served}),
    }


def _add_channels(router: APIRouter, ports: Ports) -> None:
    async def list_channels() -> Row:
        return {"items": [_channel(ports.channels[name]) for name in sorted(ports.channels)]}

    async def read_channel(name: SettingName) -> Row:
        vendor = ports.channels.get(name)
        if vendor is None:
            raise not_found("channel", name)
        return _channel(vendor)

    router.add_api_route("/admin/channels", list_channels, response_model=Channels, operation_id="list_channels",
                         summary="List the kinds of vendors")  # fmt: skip
    router.add_api_route("/admin/channels/{name}", read_channel, response_model=Channel, operation_id="get_channel",
                         summary="Read a channel")  # fmt: skip


def _add_settings(router: APIRouter, ports: Ports) -> None:
    def shown(note: SettingNote, stored: dict[str, Any]) -> Row:
        return {
            "name": note.name,
            "type": [_KINDS[kind] for kind in note.kinds],
            "value": stored.get(note.name),
            "default": note.default,
            "in_force": note.in_force,
            "origin": note.origin,
            "needs_restart": note.needs_restart,
            "text": note.text,
        }

    def noted(name: str) -> SettingNote:
        for note in ports.setting_notes():
            if note.name == name:
                return note
        raise not_found("setting", name)

    def checked(name: str, value: Scalar | None, field: str) -> Scalar | None:
        note = noted(name)
        if value is None:
            return None
        if type(value) not in note.kinds:
            wanted = " or ".join(_KINDS[kind] for kind in note.kinds)
            raise invalid(f"{field}: must be a {wanted}", field)
        if isinstance(value, str) and ("\0" in value or len(value) > 1000):
            raise invalid(f"{field}: must be at most 1000 characters, without NUL", field)
        fault = kept_fault(name, value) or ports.setting_fault(
            name, str(value).lower() if isinstance(value, bool) else str(value)
        )
        if fault:
            raise invalid(f"{field}: {fault}", field)
        return value

    async def put(request: Request, values: dict[str, Scalar | None]) -> dict[str, Any]:
        before = await ports.desk.settings()
        async with ports.desk.write(caller_of(request).actor) as writer:
            await writer.put_settings(values)
            for name, value in values.items():
                old = {"value": before[name]} if name in before else None
                await writer.note("update", "settings", name, old, {"value": value})
        return await ports.desk.settings()

    async def list_settings() -> Row:
        stored = await ports.desk.settings()
        return {"items": [shown(note, stored) for note in ports.setting_notes()]}

    async def change_settings(request: Request, body: SettingsPatch) -> Row:
        values = {name: checked(name, value, f"values.{name}") for name, value in body.values.items()}
        stored = await put(request, values)
        return {"items": [shown(note, stored) for note in ports.setting_notes()]}

    async def read_setting(name: SettingName) -> Row:
        return shown(noted(name), await ports.desk.settings())

    async def change_setting(request: Request, name: SettingName, body: SettingPatch) -> Row:
        stored = await put(request, {name: checked(name, body.value, "value")})
        return shown(noted(name), stored)

    async def delete_setting(request: Request, name: SettingName) -> None:
        noted(name)
        await put(request, {name: None})

    add = router.add_api_route
    add("/admin/settings", list_settings, response_model=Settings, operation_id="list_settings",
        summary="List the stored settings")  # fmt: skip
    add("/admin/settings", change_settings, methods=["PATCH"], response_model=Settings, operation_id="update_settings",
        summary="Change several settings")  # fmt: skip
    add("/admin/settings/{name}", read_setting, response_model=Setting, operation_id="get_setting",
        summary="Read a setting")  # fmt: skip
    add("/admin/settings/{name}", change_setting, methods=["PATCH"], response_model=Setting,
        operation_id="update_setting", summary="Change a setting")  # fmt: skip
    add("/admin/settings/{name}", delete_setting, methods=["DELETE"], status_code=204, operation_id="delete_setting",
        summary="Go back to a setting's default")  # fmt: skip


def _price(kind: str, name: str, provider: str, model_id: str, card: RateCard | None, *, own: bool) -> Row:
    return {
        "kind": kind,
        "name": name,
        "provider_name": provider,
        "model_id": model_id,
        "source": "none" if card is None else "own" if own else "bundled",
        "version": None if card is None else card.version,
        "pricing": None if card is None else card.to_fields(),
    }


def _add_prices(router: APIRouter, ports: Ports) -> None:
    async def list_prices(limit: Limit = 100, cursor: Cursor = "", provider_name: Text = None) -> dict[str, Any]:
        snapshot = ports.snapshot()
        rows: dict[str, Row] = {}
        for model in snapshot.models.values():
            provider = snapshot.providers.get(model.provider_name)
            listed_card = (
                price_data.lookup(provider.vendor.prices, model.model_id)
                if provider is not None and provider.vendor.prices
                else None
            )
            name = f"{model.provider_name}/{model.model_id}"
            own = model.card is not None and (listed_card is None or listed_card.version != model.card.version)
            rows[f"model {name}"] = _price("model", name, model.provider_name, model.model_id, model.card, own=own)
        for alias in snapshot.aliases.values():
            if alias.card is not None:
                rows[f"alias {alias.alias}"] = _price(
                    "alias", alias.alias, alias.provider_name, alias.model_id, alias.card, own=True
                )
        begin = after(cursor)
        names = [
            name
            for name in sorted(rows)
            if name > begin and (provider_name is None or rows[name]["provider_name"] == provider_name)
        ]
        wanted = [rows[name] for name in names[: limit + 1]]
        return listed(wanted, limit, lambda row: cursor_of(f"{row['kind']} {row['name']}"))

    async def bundled(
        vendor: Annotated[str, Query(max_length=100)] = "", model: Annotated[str, Query(max_length=200)] = ""
    ) -> Row:
        card = price_data.lookup(vendor, model) if vendor and model else None
        price = None
        if card is not None:
            price = {"vendor": vendor, "model_id": model, "version": card.version, "pricing": card.to_fields()}
        return {"source": price_data.source(), "vendors": sorted(price_data.vendors()), "price": price}

    router.add_api_route("/admin/prices", list_prices, response_model=Listed[Price], operation_id="list_prices",
                         summary="List what models and aliases cost",
                         description="Change a price with PATCH on the model or alias.")  # fmt: skip
    router.add_api_route("/admin/prices/bundled", bundled, response_model=Bundled, operation_id="get_bundled_price",
                         summary="Look into the bundled price list")  # fmt: skip
