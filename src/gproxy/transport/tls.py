"""TLS towards vendors and proxies: always verified, never a fall back to plain text."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Final

from gproxy.errors import Phase, UpstreamFault

# Where distributions keep their bundle, for interpreters whose OpenSSL was built to look elsewhere.
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

# OpenSSL's X509_V_ERR_* (x509_vfy.h).
_REASONS: Final[dict[int, str]] = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "certificate self-signed",
    19: "certificate chain self-signed",
    20: "certificate issuer unknown",
    21: "certificate issuer unknown",
    23: "certificate revoked",
    62: "certificate is for another host",
    63: "certificate is for another host",
    64: "certificate is for another host",
}


@lru_cache(maxsize=8)
def client_context(ca_file: str | None) -> ssl.SSLContext:
    """A verifying context: `ca_file`, else `SSL_CERT_FILE`/`SSL_CERT_DIR`, else the system's trust store.

    Built on first use and kept: reading the system's store takes some 30 ms.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None:
        paths = ssl.get_default_verify_paths()
        if not (paths.cafile or paths.capath):
            bundle = next((path for path in _BUNDLES if Path(path).is_file()), None)
            if bundle is not None:
                context.load_verify_locations(bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def tls_fault(error: OSError | ValueError) -> UpstreamFault:
    """What a failed handshake is told as. Nothing of the request had been sent yet."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _REASONS.get(error.verify_code, "certificate not trusted")
    elif isinstance(error, ssl.SSLError):
        reason = "tls handshake failed"
    elif isinstance(error, OSError):
        reason = "tls handshake broken off"
    else:
        reason = "host name is not valid for tls"
    return UpstreamFault(Phase.TLS, reason, unprocessed=True)
