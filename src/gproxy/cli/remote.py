"""A running gateway's admin API, as commands see it: one JSON request at a time, refusals as one clear line each."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from gproxy.cli.terminal import Complaint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE: Final = 500
"""Rows per request of a list."""
_WAIT: Final = 120.0
"""Seconds for one answer: an import of thousands of rows is one."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where it is and who asks. Every method raises `Complaint`."""

    url: str
    api_key: str

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """An answer's JSON; None when it has no body."""
        content = None if body is None else json.dumps(body).encode()
        text = self.send(method, path, content, "application/json", query)
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise Complaint(f"{self.url} does not answer like a gateway (is the address right?)") from None

    def send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        kind: str = "application/json",
        query: Mapping[str, Any] | None = None,
    ) -> str:
        """An answer's text."""
        chosen = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(chosen)}" if chosen else path
        headers = {"authorization": f"Bearer {self.api_key}"}
        if content is not None:
            headers["content-type"] = kind
        connection, prefix = self._connection()
        try:
            connection.request(method, prefix + target, body=content, headers=headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Complaint(f"{self.url} does not answer: {reason} (--url, GPROXY_URL)") from error
        finally:
            connection.close()
        if status >= 300:
            raise _refusal(status, text)
        return text

    def rows(self, resource: str, most: int | None, **query: Any) -> Iterator[dict[str, Any]]:
        """The rows of a list, page by page."""
        cursor: str | None = None
        left = most
        while left is None or left > 0:
            limit = PAGE if left is None else min(PAGE, left)
            page = self.ask("GET", f"/admin/{resource}", None, limit=limit, cursor=cursor, **query)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["items"])

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            raise Complaint(f"{self.url!r} is not an address (--url, GPROXY_URL)", code=2) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Complaint(f"{self.url!r} is not an http:// or https:// address (--url, GPROXY_URL)", code=2)
        if not self.api_key.isascii() or not self.api_key.isprintable() or not self.api_key:
            raise Complaint("an administrator's API key is needed: --api-key or GPROXY_API_KEY", code=2)
        prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(parts.hostname, port, timeout=_WAIT, context=context), prefix
        return http.client.HTTPConnection(parts.hostname, port, timeout=_WAIT), prefix


def reference(text: str) -> str:
    """An id or name as a piece of a path; the slash of `provider/model` stays."""
    return quote(text, safe="/")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(status: int, text: str) -> Complaint:
    try:
        error = json.loads(text)["error"]
        lines = [str(error["message"])]
        lines += [
            f"{each['field']}: {each['message']}" if each.get("field") else str(each["message"])
            for each in error.get("problems", ())
        ]
    except (ValueError, KeyError, TypeError):
        return Complaint(f"the gateway answers {status}")
    return Complaint(*(lines[1:] or lines))
