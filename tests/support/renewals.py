"""A server's certificate in files, and every way in which its renewal goes wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from certificates import Authority, Pair, openssl


class Files:
    """A pair in use, and how it is replaced."""

    def __init__(self, folder: Path):
        self.authority = Authority.create(folder / "ca")
        self.old, self.new = self.authority.issue("old"), self.authority.issue("new", days=30)
        self.cert, self.key = folder / "server.pem", folder / "server.key"
        self.put(self.old)

    @property
    def flags(self) -> tuple[object, ...]:
        return ("--tls-cert", self.cert, "--tls-key", self.key)

    def put(self, pair: Pair) -> None:
        for source, target in ((pair.key, self.key), (pair.cert, self.cert)):
            if target.is_dir():
                target.rmdir()
            shutil.copy(source, target)


def empty_certificate(files: Files) -> None:
    files.cert.write_bytes(b"")


def garbage(files: Files) -> None:
    files.cert.write_bytes(b"-----BEGIN CERTIFICATE-----\nnoise\n-----END CERTIFICATE-----\n")


def certificate_before_its_key(files: Files) -> None:
    shutil.copy(files.new.cert, files.cert)


def key_before_its_certificate(files: Files) -> None:
    shutil.copy(files.new.key, files.key)


def key_with_a_passphrase(files: Files) -> None:
    shutil.copy(files.new.cert, files.cert)
    openssl("ec", "-in", files.new.key, "-aes256", "-passout", "pass:secret", "-out", files.key)


def folder_in_its_place(files: Files) -> None:
    files.cert.unlink()
    files.cert.mkdir()


def no_key(files: Files) -> None:
    files.key.unlink()


BROKEN: list[Callable[[Files], None]] = [
    empty_certificate,
    garbage,
    certificate_before_its_key,
    key_before_its_certificate,
    key_with_a_passphrase,
    folder_in_its_place,
    no_key,
]
