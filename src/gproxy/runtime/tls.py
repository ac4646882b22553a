"""The listener's own TLS: one context whose certificate can be read again while it serves."""

from __future__ import annotations

import ssl
from pathlib import Path


class BadCertificate(Exception):  # noqa: N818 - the state it names is the message
    """Certificate or key cannot be used; the text names the file and the reason."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context for the listener: TLS 1.2 and up, HTTP/1.1 only. Raises `BadCertificate`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """(Re)read the files; handshakes from now on use them. A pair that does not fit changes nothing.

    Raises `BadCertificate`.
    """
    try:
        # Tried on a context of its own first: a failed load leaves the one in use half changed.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        context.load_cert_chain(certificate, key)
    except OSError as error:  # SSLError is one
        raise BadCertificate(
            f"the TLS certificate {certificate} or its key {key} cannot be used: {error.strerror or error}"
        ) from error
