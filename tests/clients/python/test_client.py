"""The blocking client against a real server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import fma_client
import pytest
from fma_client import Client, FinishReason, Retry
from programs import DEMO_MODEL, serve

PROMPT = "It was a dark and stormy night"


def test_deltas_make_up_the_completion(client: Client) -> None:
    stream = client.generate(PROMPT, max_tokens=20, seed=3, logprobs=True, top_logprobs=2, ignore_eos=True)
    deltas = list(stream)
    (completion,) = stream.completions
    assert len(completion.token_ids) == len(completion.logprobs) == len(completion.top_logprobs) == 20
    assert "".join(delta.text for delta in deltas) == completion.text
    assert [token for delta in deltas for token in delta.token_ids] == completion.token_ids
    assert completion.finish_reason is FinishReason.LENGTH
    assert completion.usage is not None and completion.usage.generated_tokens == 20
    assert completion.usage.prompt_tokens == len(client.tokenize(PROMPT).token_ids)
    for token, logprob, top in zip(completion.token_ids, completion.logprobs, completion.top_logprobs):
        assert len(top) == 2 and top[0].logprob >= top[1].logprob
        assert logprob <= top[0].logprob or token == top[0].token_id


def test_a_seed_repeats_and_token_ids_are_the_text(client: Client) -> None:
    text = client.generate(PROMPT, max_tokens=12, seed=5).text()
    ids = client.tokenize(PROMPT).token_ids
    assert client.generate(ids, max_tokens=12, seed=5).text() == text
    assert client.generate(PROMPT, max_tokens=12, seed=6).text() != text


def test_sampling_options_reach_the_server(client: Client) -> None:
    (only,) = client.generate(PROMPT, max_tokens=4, allowed_token_ids=[300]).read()
    assert only.token_ids == [300] * 4
    (stopped,) = client.generate(PROMPT, max_tokens=200, temperature=0, stop=" the", include_stop=True).read()
    assert stopped.finish_reason is FinishReason.STOP_SEQUENCE and stopped.stop == " the"
    assert stopped.text.endswith(" the")
    (by_token,) = client.generate(PROMPT, logit_bias={301: 100}, stop_token_ids=[301]).read()
    assert by_token.stop_token_id == 301 and by_token.text == ""


def test_samples_are_those_of_single_calls(client: Client) -> None:
    many = client.generate(PROMPT, n=3, max_tokens=8, seed=40).read()
    assert [completion.index for completion in many] == [0, 1, 2]
    for completion in many:
        assert completion.text == client.generate(PROMPT, max_tokens=8, seed=40 + completion.index).text()
        assert completion.finish_reason is FinishReason.LENGTH


def test_echo_returns_the_prompt(client: Client) -> None:
    stream = client.generate(PROMPT, echo=True, prompt_logprobs=2, max_tokens=1)
    stream.read()
    score = client.score(PROMPT, top_logprobs=2)
    assert [token.token_id for token in stream.prompt] == [token.token_id for token in score.tokens]
    assert stream.prompt[0].logprob is None
    assert [token.logprob for token in stream.prompt[1:]] == [token.logprob for token in score.tokens[1:]]


def test_progress_of_a_long_prompt(client: Client) -> None:
    seen: list[tuple[int, int]] = []
    prompt = [5] * 3000
    client.generate(prompt, max_tokens=1, on_progress=lambda *numbers: seen.append(numbers)).read()
    assert len(seen) > 2 and seen == sorted(seen) and all(total == 3000 for _, total in seen)


def test_score_and_tokens(client: Client) -> None:
    score = client.score(PROMPT, top_logprobs=3)
    assert score.tokens[0].logprob is None
    assert sum(token.logprob or 0 for token in score.tokens) == pytest.approx(score.total_logprob, abs=1e-3)
    assert all(len(token.top) == 3 for token in score.tokens[1:])
    ids = client.tokenize(PROMPT).token_ids
    assert client.score(ids).total_logprob == score.total_logprob
    assert client.detokenize(ids) == PROMPT
    assert client.model().vocab_size == 4096


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda c: c.generate("x", max_tokens=0).read(), fma_client.InvalidArgumentError, "max_tokens"),
        (lambda c: c.generate("").read(), fma_client.InvalidArgumentError, "text"),
        (lambda c: c.score([]), fma_client.InvalidArgumentError, ""),
        (lambda c: c.detokenize([1 << 20]), fma_client.InvalidArgumentError, "1048576"),
        (
            lambda c: c.generate("x", max_tokens=10**8, ignore_eos=True, timeout=0.2).read(),
            fma_client.DeadlineExceededError,
            "",
        ),
    ],
)
def test_errors_have_types(client: Client, call, error: type[fma_client.FmaError], words: str) -> None:
    with pytest.raises(error) as caught:
        call(client)
    assert words in caught.value.message
    assert isinstance(caught.value, fma_client.FmaError)


def test_cancel_from_another_thread(client: Client) -> None:
    stream = client.generate("endless", max_tokens=10**8, ignore_eos=True)
    next(stream)
    threading.Timer(0.05, stream.cancel).start()
    with pytest.raises(fma_client.CancelledError):
        stream.read()


def test_leaving_a_block_or_dropping_a_stream_frees_its_slot() -> None:
    with serve(DEMO_MODEL, "--threads", 1, "--slots", 1, "--max-queue", 4) as address, Client(address) as client:
        with client.generate("endless", max_tokens=10**8, ignore_eos=True) as stream:
            next(stream)
        assert client.generate("next", max_tokens=1, timeout=20).read()[0].token_ids
        dropped = client.generate("endless", max_tokens=10**8, ignore_eos=True)
        next(dropped)
        del dropped
        assert client.generate("next", max_tokens=1, timeout=20).read()[0].token_ids


def test_many_threads_share_a_client(client: Client) -> None:
    def text(seed: int) -> str:
        return client.generate(PROMPT, max_tokens=10, seed=seed).text()

    alone = [text(seed) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(text, range(12))) == alone


def test_no_server_is_unavailable() -> None:
    with Client("127.0.0.1:1", retry=Retry(attempts=2, first_delay=0.01)) as client:
        for call in (client.model, lambda: client.generate("x").read(), lambda: client.score("x")):
            with pytest.raises(fma_client.UnavailableError):
                call()
