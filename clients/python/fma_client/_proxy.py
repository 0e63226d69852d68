"""The HTTP proxy that gRPC sends calls through, which its errors do not name."""

from __future__ import annotations

import os


def proxy_hint(address: str) -> str:
    """What the message of a failed connection to `address` needs besides; empty: no proxy is in use."""
    variable = next((name for name in ("grpc_proxy", "https_proxy", "http_proxy") if os.environ.get(name)), None)
    if variable is None:
        return ""
    host = address.rsplit(":", 1)[0].strip("[]")
    # gRPC reads the small names alone.
    direct = next((os.environ[name] for name in ("no_grpc_proxy", "no_proxy") if os.environ.get(name)), "")
    if any(host.lower().endswith(suffix) for suffix in filter(None, map(str.strip, direct.lower().split(",")))):
        return ""
    proxy = os.environ[variable].rsplit("@", 1)[-1]  # its user's name and password are nobody's business
    return f"; calls go through the proxy {proxy} that {variable} names: no_proxy={host} goes without it"
