"""Puts the descriptors of proto/ into the package when it is built; nothing generated is kept in the tree."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
FILES = (
    *(f"fma/v1/{name}.proto" for name in ("generation", "sessions", "admin", "encoders")),
    *("grpc/health/v1/health.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"),
)


def project_version() -> str:
    """The one of the whole project, which its CMakeLists.txt says."""
    found = re.search(r"^project\(\w+ VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("CMakeLists.txt: no project(... VERSION ...)")
    return found[1]


class BuildWithDescriptors(build_py):
    """Adds fma_client/protos.binpb, and in fma_client/_stubs/ the hints for type checkers."""

    def run(self) -> None:
        super().run()
        from grpc_tools import _proto, protoc

        package = Path(self.build_lib) / "fma_client"
        stubs = package / "_stubs"
        stubs.mkdir(parents=True, exist_ok=True)
        arguments = [f"--proto_path={PROTO}", f"--proto_path={_proto.__path__[0]}", f"--pyi_out={stubs}"]
        descriptors = ["--include_imports", f"--descriptor_set_out={package}/protos.binpb"]
        if protoc.main(["protoc", *arguments, *descriptors, *FILES]) != 0:
            raise SystemExit(f"cannot compile the protos in {PROTO}")
        # protoc imports a proto's module by its full name, which here is below fma_client._stubs.
        for stub in stubs.rglob("*.pyi"):
            stub.write_text(re.sub(r"from (fma|google\.rpc)\b", r"from fma_client._stubs.\1", stub.read_text()))


setup(version=project_version(), cmdclass={"build_py": BuildWithDescriptors})
