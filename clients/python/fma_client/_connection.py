"""What a client needs to connect: address, TLS and token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ._wire import CHANNEL_OPTIONS

__all__ = ["Tls"]


@dataclass(frozen=True)
class Tls:
    """How to trust the server, and how it may trust this client. Paths of PEM files.

    >>> from fma_client import Tls
    >>> tls = Tls(ca="ca.pem", cert="client.pem", key="client.key")
    """

    ca: str | Path | None = None  #: certificates to trust; default: the system's
    cert: str | Path | None = None  #: for mutual TLS, with `key`
    key: str | Path | None = None
    server_name: str | None = None  #: the name in the server's certificate, where the address has another

    def credentials(self) -> grpc.ChannelCredentials:
        """OSError when a file cannot be read."""
        if (self.cert is None) != (self.key is None):
            missing = "cert" if self.cert is None else "key"
            raise ValueError(f"{missing} is missing; allowed: both cert and key, or neither")
        ca, key, cert = (None if path is None else Path(path).read_bytes() for path in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def connect(module: Any, address: str, tls: Tls | bool) -> Any:
    """A channel of `module`: grpc or grpc.aio."""
    options: list[tuple[str, int | str]] = list(CHANNEL_OPTIONS)
    if not tls:
        return module.insecure_channel(address, options=options)
    settings = Tls() if tls is True else tls
    if settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return module.secure_channel(address, settings.credentials(), options=options)


def metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)
