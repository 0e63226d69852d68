"""PyPI's `llm` and `llm-comply`, unchanged."""

from __future__ import annotations

from pathlib import Path

from tool import run_tool

MODELS = """
- model_id: completion
  model_name: books
  api_base: {url}/v1
  completion: true
- model_id: chat
  model_name: books
  api_base: {url}/v1
- model_id: responses
  model_name: books
  api_base: {url}/v1
  responses: true
"""


def run(name: str, *words: object, home: Path) -> str:
    return run_tool(name, *words, timeout=300, LLM_USER_PATH=str(home), OPENAI_API_KEY="any")


def test_llm_continues_and_chats(url: str, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(url=url))
    for model in ("completion", "chat", "responses"):
        for way in ((), ("--no-stream",)):
            assert run("llm", "-m", model, "It was a dark", "-o", "max_tokens", 20, *way, home=tmp_path).strip()


def test_llm_comply(brief_url: str, tmp_path: Path) -> None:
    # Its other tests are of tools, pictures and thoughts, which the model has not.
    tests = "chat-basic-response,chat-system-prompt,chat-multi-turn,chat-streaming-response,chat-streaming-usage"
    words = ("run", "--format", "openai-chat", "-u", f"{brief_url}/v1", "-k", "any", "-m", "books", "-f", tests)
    assert "5/5 passed" in run("llm-comply", *words, home=tmp_path)
