"""A conversation in the terminal with nothing but the package `openai`: each line goes on from the answer before.

    pip install openai
    python3 docs/examples/responses.py http://127.0.0.1:8000/v1

`/back` forgets the last question and its answer: it goes on from the response before it.
"""

from __future__ import annotations

import sys

from openai import OpenAI


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/v1"
    client = OpenAI(base_url=url, api_key="the bearer token, or any word")
    model = client.models.list().data[0].id
    ids: list[str] = []  # of the responses so far, each of which can be gone on from
    for line in sys.stdin:
        if line.strip() == "/back":
            del ids[-1:]
            continue
        previous = ids[-1] if ids else None
        with client.responses.stream(model=model, input=line.strip(), previous_response_id=previous) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    print(event.delta, end="", flush=True)
        response = event.response
        usage = response.usage
        read = usage.input_tokens - usage.input_tokens_details.cached_tokens
        print(f"\n({read} tokens read, {usage.input_tokens_details.cached_tokens} were kept)")
        ids.append(response.id)


if __name__ == "__main__":
    main()
