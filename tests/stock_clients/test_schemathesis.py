"""PyPI's `schemathesis` asks what docs/openapi.yaml describes: no answer is an error of the server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from programs import ROOT
from service import Service

SECONDS = os.environ.get("FMA_SCHEMA_SECONDS", "60")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "unsupported_method,allow_header_conformance"
)


def test_no_request_breaks_the_server(server: Service, url: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    # The phase "coverage" fails inside the generator itself, whatever the server does.
    how = ("--max-time", SECONDS, "--phases", "fuzzing", "--checks", CHECKS)
    words = ("run", ROOT / "docs" / "openapi.yaml", "--url", url, *how)
    done = subprocess.run(
        [str(program), *(str(word) for word in words)],
        capture_output=True,
        text=True,
        timeout=86400,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert server.process.poll() is None
