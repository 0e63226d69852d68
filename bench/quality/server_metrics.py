"""What a server says of itself on its HTTP port."""

from __future__ import annotations

import urllib.request


def metric(http: int, name: str) -> float:
    """Of a name without labels, such as `process_cpu_seconds_total`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name} "))
    return float(found.split()[1])
