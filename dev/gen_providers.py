"""Writes docs/providers.md from the channel catalog; `--check` only says whether it is current (exit 1 if not)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from gproxy.canonical.operation import VENDOR_DIALECTS, Dialect, Operation
from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.loader import catalog
from gproxy.channels.vendor import Endpoint, Support, Vendor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "providers.md"

HEAD = """# Providers and channels

<!-- Written by dev/gen_providers.py from src/gproxy/channels/catalog/. Change the catalog, then run it again. -->

A **channel** is a kind of vendor; a **provider** is one channel with your settings and your credentials. Every channel
serves all four generate dialects: *native* ones go through as they are, the others are translated. `bedrock_converse`
is a dialect that only vendors speak, so every client's request is translated on its way there.

```toml
[[providers]]
name = "main"
channel = "openai"
settings = { base_url = "https://api.openai.com" }   # optional; with or without /v1
credentials = [ { api_key = "${OPENAI_API_KEY}" } ]
```

Settings of every channel: `base_url`, `proxy`, `rotation` (`round_robin`, `sticky`, `least_in_flight`,
`cache_affinity`), `on_disconnect` (`cancel`, `finish`), `loss` (`allow`, `warn`, `forbid`), `connect_timeout`,
`first_byte_timeout`, `idle_timeout`, `total_timeout` (seconds), `headers` (a table), `user_agent`, `endpoints`
(`{ openai_chat = "/chat/completions" }` moves a path). A `base_url` may be local or private, never a cloud's metadata
address; secrets belong into credentials.

A vendor that is not listed and speaks one of the dialects needs no new channel: use `custom` with `base_url` and
`dialect` (or `dialects`).

## Clouds

```toml
[[providers]]
name = "bedrock"
channel = "bedrock"
settings = { region = "us-east-1" }
credentials = [ { access_key_id = "${AWS_ACCESS_KEY_ID}", secret_access_key = "${AWS_SECRET_ACCESS_KEY}" } ]
# or a Bedrock API key: credentials = [ { api_key = "${AWS_BEARER_TOKEN_BEDROCK}" } ]

[[providers]]
name = "azure"
channel = "azure_openai"
settings = { resource = "my-resource" }        # models are named by their deployments
credentials = [ { api_key = "${AZURE_OPENAI_API_KEY}" } ]

# [[providers]]                                # the key file is checked when it is read, so it must be a real one
# name = "vertex"
# channel = "vertex"
# settings = { location = "us-east5" }         # the project is the service account's unless `project` says another
# credentials = [ { service_account = "${GOOGLE_SERVICE_ACCOUNT_JSON}" } ]
```

On Bedrock the model's id chooses the way: Claude goes through InvokeModel in Anthropic's own messages, OpenAI's models
through their own dialects, all others through Converse. The ARN of an inference profile of your own does not tell its
model and goes through Converse too, where thinking and `top_k` are lost because they are said differently to each
family of models. For Claude behind such a profile, copy the channel's file into a folder of your own
(`gproxy serve --channels DIR`) and add the ARN to the `models` of its first variant.
"""

VERDICTS = """## When a vendor fails

| it says | then |
| --- | --- |
| 401, 403 | a token is refreshed once where the credential has one; else the credential is disabled until an admin enables it |
| the key may not use this model (a vendor's own code for it) | the credential rests 60 s for that model only |
| 429 with `retry-after`, `retry-after-ms`, a date, or an exhausted limit header | the credential rests that long for that model, at most an hour |
| 429 without | it rests 1, 2, 4 … 60 s |
| the account's quota or balance is spent (`insufficient_quota`, 402 where the vendor means that) | the whole credential rests 5 minutes at a time |
| 5xx, 529, no connection, no answer | it rests 1, 2, 4 … 60 s |
| any other 4xx | that is the answer |

Each time the next credential, then the next member of the route is tried, as long as no byte has gone to the client,
`--max-attempts` is not reached and retries stay below a tenth of the provider's requests (ten a minute are always
allowed).

A stream begins for its client with its first frame that says something; comments and pings are held back until then, for
15 seconds at most. A vendor that answers 200 and then says an error first, ends without a word, or sends a page where a
stream should be, is therefore treated as in the table: by the status that the error states, or else by its code and type
(`rate_limit_error`, `RESOURCE_EXHAUSTED` …), and as a 502 where none is known. After that first frame an error is the last
event of the client's stream.
"""


def main() -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text("utf-8") == text:
            return 0
        print(f"{PAGE.name} is not current: run dev/gen_providers.py")
        return 1
    PAGE.write_text(text, "utf-8")
    return 0


def page() -> str:
    """The whole page."""
    vendors = sorted(catalog().values(), key=lambda vendor: vendor.name)
    rows = [
        "| channel | vendor | native | also | credential |",
        "| --- | --- | --- | --- | --- |",
        *(_row(vendor) for vendor in vendors),
    ]
    return "\n".join((HEAD, "## All channels", "", *rows, "", *(_section(vendor) for vendor in vendors), VERDICTS))


def _row(vendor: Vendor) -> str:
    also = sorted({str(e.operation) for e in _native(vendor) if e.dialect not in VENDOR_DIALECTS})
    cells = (
        f"[`{vendor.name}`](#{vendor.name})",
        vendor.label,
        _names(_speaks(vendor)),
        ", ".join(also),
        _fields(vendor),
    )
    return f"| {' | '.join(cells)} |"


def _section(vendor: Vendor) -> str:
    facts = [f"`base_url`: `{vendor.base_url}`" if vendor.base_url else "`base_url`: required"]
    if vendor.needs:
        facts.append(f"needs the settings {_names(vendor.needs)}")
    if vendor.defaults:
        facts.append("defaults " + ", ".join(f"`{name} = {value}`" for name, value in vendor.defaults))
    facts += [f"headers of yours that travel: {_names(sorted(name.decode() for name in vendor.forward_headers))}"]
    lines = [f"### {vendor.name}", "", f"{vendor.label} ([documentation]({_link(vendor)}))", ""]
    lines += [f"* {fact}" for fact in facts]
    if vendor.variants:
        lines += [f"* {_variant(vendor, number)}" for number in range(len(vendor.variants))]
    lines += ["", "| operation | dialect | how |", "| --- | --- | --- |"]
    lines += [f"| {e.operation} | {e.dialect} | {_how(e)} |" for e in _ordered(vendor.endpoints.values())]
    return "\n".join([*lines, ""])


def _variant(vendor: Vendor, number: int) -> str:
    variant = vendor.variants[number]
    native = [e for e in variant.endpoints.values() if e.support is Support.NATIVE]
    where = f"with the setting `{variant.setting}`" if variant.setting else f"models {_names(variant.globs)}"
    paths = "; ".join(f"{e.operation} {e.dialect} `{e.path}`" for e in _ordered(native))
    return f"{where}: {paths}"


def _ordered(entries: Iterable[Endpoint]) -> list[Endpoint]:
    operations, dialects = list(Operation), list(Dialect)
    return sorted(entries, key=lambda entry: (operations.index(entry.operation), dialects.index(entry.dialect)))


def _how(entry: Endpoint) -> str:
    match entry.support:
        case Support.NATIVE:
            query = f"?{entry.query}" if entry.query else ""
            return f"`{entry.method} {entry.path}{query}`"
        case Support.TRANSLATE:
            return f"translated to {entry.to}"
        case _:
            return str(entry.support)


def _native(vendor: Vendor) -> list[Endpoint]:
    return [entry for entry in vendor.endpoints.values() if entry.support is Support.NATIVE]


def _speaks(vendor: Vendor) -> list[str]:
    tables = (vendor.endpoints, *(variant.endpoints for variant in vendor.variants))
    spoken = {
        entry.dialect
        for table in tables
        for entry in table.values()
        if entry.operation is Operation.GENERATE and entry.support is Support.NATIVE
    }
    return [str(dialect) for dialect in VENDOR_DIALECTS if dialect in spoken]


def _fields(vendor: Vendor) -> str:
    sets = [_names(names, " + ") for names in SCHEMES[vendor.auth.kind].field_sets if names]
    return " or ".join(sets) + (" or none" if vendor.keyless else "")


def _names(names: Iterable[str], between: str = ", ") -> str:
    return between.join(f"`{name}`" for name in names)


def _link(vendor: Vendor) -> str:
    return vendor.docs if vendor.docs.startswith("https://") else "providers.md"


if __name__ == "__main__":
    raise SystemExit(main())
