"""A conversation in the terminal that goes on whatever becomes of the replicas behind a router.

    pip install openai
    python3 docs/examples/resuming.py http://127.0.0.1:8000/v1

Each line is a turn. Its request has a seed, so that when it is sent again exactly what has been printed comes again.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, OpenAI

#: After these the same request is sent again: a replica is full, gone or draining, or the router has none.
AGAIN = {408, 409, 429, 500, 502, 503, 504}
PATIENCE = 120  #: seconds for a turn


def kept(client: OpenAI, response: str | None, headers: dict[str, str]) -> Any:
    """The response, if it was kept though the end of its stream was lost."""
    try:
        return client.responses.retrieve(response, extra_headers=headers) if response is not None else None
    except (APIConnectionError, APIStatusError):
        return None  # 404: it was not; else it may be kept twice, which does no harm


def events(client: OpenAI, request: dict[str, Any]) -> Iterator[Any]:
    """The events of one try, which may end early."""
    try:
        yield from client.responses.create(**request, stream=True)
    except (APIConnectionError, httpx2.TransportError):
        time.sleep(0.1)
    except APIStatusError as error:
        if error.status_code not in AGAIN:
            raise
        time.sleep(0.1)


def answer(client: OpenAI, request: dict[str, Any]) -> str:
    """Prints the answer, and returns the response's id."""
    printed = 0
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        response, text, ends = None, "", False
        for event in events(client, request):
            if event.type == "response.created":
                response = event.response.id
            elif event.type == "response.output_text.delta":
                text += event.delta
                print(text[printed:], end="", flush=True)
                printed = max(printed, len(text))
            elif event.type in {"response.completed", "response.incomplete"}:
                ends = True
        if not ends and (whole := kept(client, response, request["extra_headers"])):
            print(whole.output_text[printed:], end="", flush=True)
            ends = True
        if ends and response is not None:
            print(flush=True)
            return response
    sys.exit("\nno replica answers")


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/v1"
    client = OpenAI(base_url=url, api_key="the bearer token, or any word")
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(2**31)
    request: dict[str, Any] = {
        "model": client.models.list().data[0].id,
        "extra_headers": {"X-Session-ID": f"terminal-{seed}"},  # the router's, to stay with one replica
        "max_output_tokens": 300,
    }
    for line in sys.stdin:
        seed += 1
        request |= {"input": line.strip(), "extra_body": {"seed": seed}}
        request["previous_response_id"] = answer(client, request)


if __name__ == "__main__":
    main()
