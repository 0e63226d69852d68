"""Generates the stubs of proto/fma/v1 into the package when it is built; nothing generated is kept in the tree."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = Path(__file__).resolve().parents[2] / "proto"
NAMES = ("generation", "sessions", "admin")


class BuildWithStubs(build_py):
    """Adds fma_client/_stubs/fma/v1/*_pb2.py and their type hints."""

    def run(self) -> None:
        super().run()
        from grpc_tools import protoc

        stubs = Path(self.build_lib) / "fma_client" / "_stubs"
        package = stubs / "fma" / "v1"
        package.mkdir(parents=True, exist_ok=True)
        for folder in (stubs, stubs / "fma", package):
            (folder / "__init__.py").touch()
        arguments = ["protoc", f"--proto_path={PROTO}", f"--python_out={stubs}", f"--pyi_out={stubs}"]
        if protoc.main([*arguments, *(f"fma/v1/{name}.proto" for name in NAMES)]) != 0:
            raise SystemExit(f"cannot compile the protos in {PROTO}")
        # protoc imports a proto's module by its full name, which here is below fma_client._stubs.
        for stub in package.glob("*_pb2.py*"):
            stub.write_text(stub.read_text().replace("from fma.v1 import ", "from . import "))


setup(cmdclass={"build_py": BuildWithStubs})
