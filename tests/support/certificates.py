"""Certificates for tests, made with OpenSSL's own tool."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *(str(word) for word in words)], check=True, capture_output=True)


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder of its own."""

    folder: Path

    @property
    def cert(self) -> Path:
        return self.folder / "ca.pem"

    @staticmethod
    def create(folder: Path) -> Authority:
        folder.mkdir()
        authority = Authority(folder)
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2),
            *("-keyout", folder / "ca.key", "-out", authority.cert, "-subj", "/CN=test authority"),
        )
        return authority

    def issue(self, name: str, days: int = 2) -> Pair:
        """A certificate for `name` and 127.0.0.1."""
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", pair.key, "-out", request, "-subj", f"/CN={name}"),
        )
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.folder / "ca.key", "-days", days),
            *("-CAcreateserial", "-extfile", extensions, "-out", pair.cert),
        )
        return pair
