"""The options of the command line: those of the `fma` tool."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._connection import Tls
from .client import Client
from .options import Prompt


class UsageError(Exception):
    """Wrong use of the command line."""


def whole(text: str) -> int:
    """A number that a field without a sign may hold."""
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if 0 <= number < 1 << 64:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {(1 << 64) - 1}")


#: Options of generate: flag, what argparse needs, and the name in GenerateOptions.
_SINGLE: tuple[tuple[str, Callable[[str], Any], str, str], ...] = (
    ("--temperature", float, "0 takes the most likely token (server: the model's)", "temperature"),
    ("--top-k", whole, "Choose among the k most likely tokens; 0: all", "top_k"),
    ("--top-p", float, "Choose among tokens that sum to this, in (0, 1]", "top_p"),
    ("--min-p", float, "Choose among tokens with this part of the best one's probability", "min_p"),
    ("--repetition-penalty", float, "Above 1: fewer tokens of prompt and output again", "repetition_penalty"),
    ("--frequency-penalty", float, "Off a token's logit for each time the output holds it", "frequency_penalty"),
    ("--presence-penalty", float, "Off a token's logit once the output holds it", "presence_penalty"),
    ("--seed", whole, "Repeats a result (server: at random)", "seed"),
    ("--sources", whole, "Show the passages that the answer was read from; asked for at each token", "sources"),
    ("--min-tokens", whole, "Fewest tokens to generate", "min_tokens"),
    ("--time-limit", float, "Seconds to read and generate", "time_limit_seconds"),
    ("--top-logprobs", whole, "With --json: alternatives to list at every token", "top_logprobs"),
    ("--prompt-logprobs", whole, "With --json: the prompt's log-probabilities, with alternatives", "prompt_logprobs"),
    ("--n", whole, "Samples from one reading of the prompt (server: 1)", "n"),
    ("--priority", int, "Lower is served first, -100 to 100 (server: 0)", "priority"),
    ("--cache-salt", str, "Share cached prompts only with the same salt", "cache_salt"),
)
_MANY: tuple[tuple[str, Callable[[str], Any], str, str], ...] = (
    ("--allow-token", whole, "Generate only these; may repeat", "allowed_token_ids"),
    ("--ban-token", whole, "Never generate these; may repeat", "banned_token_ids"),
    ("--stop", str, "End before this text; may repeat", "stop"),
    ("--stop-token", whole, "End before this token; may repeat", "stop_token_ids"),
    ("--mark", whole, "Keep the state after so many prompt tokens; may repeat", "marks"),
)
_FLAGS = (
    ("--include-stop", "End after the stop text or token", "include_stop"),
    ("--ignore-eos", "Go on past the end of the text", "ignore_eos"),
    ("--shares", "Show how much attention each part of the hierarchy got, by layer", "attention_shares"),
    ("--logprobs", "With --json: each token's log-probability", "logprobs"),
    ("--skip-prefix-cache", "Read the whole prompt", "skip_prefix_cache"),
    ("--no-archive", "Be served in constant memory", "no_archive"),
    ("--echo", "Print the prompt before its continuation", "echo"),
)


def add_connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="HOST:PORT", default=os.environ.get("FMA_SERVER") or "localhost:50051")
    parser.add_argument("--json", action="store_true", help="Print JSON lines for programs")
    parser.add_argument("--tls", action="store_true", help="Use TLS and trust the system's certificates")
    parser.add_argument("--tls-ca", metavar="FILE", help="Use TLS and trust these certificates")
    parser.add_argument("--tls-cert", metavar="FILE", help="This client's certificate, with --tls-key")
    parser.add_argument("--tls-key", metavar="FILE")
    parser.add_argument("--model", metavar="NAME", default="", help="Which of the served models (server: the first)")
    parser.add_argument("--token", default=os.environ.get("FMA_TOKEN"), help="Bearer token")


def connect(args: argparse.Namespace) -> Client:
    tls: Tls | bool = args.tls
    if args.tls_ca or args.tls_cert or args.tls_key:
        tls = Tls(ca=args.tls_ca, cert=args.tls_cert, key=args.tls_key)
    try:
        return Client(args.server, tls=tls, token=args.token or None, model=args.model)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None


def add_input(parser: argparse.ArgumentParser, token_ids: bool = True) -> None:
    given = parser.add_mutually_exclusive_group()
    given.add_argument("text", nargs="?", help="The text itself")
    given.add_argument("-f", "--prompt-file", metavar="FILE", help="The text's file; - reads standard input")
    if token_ids:
        given.add_argument("--token-ids", metavar="JSON", help="Token ids as a JSON array")


def _stdin_is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def read_stdin() -> bytes:
    if sys.stdin is None:  # closed when Python started; something else may have its descriptor by now
        raise UsageError("standard input: Bad file descriptor")
    return sys.stdin.buffer.read()


def read_input(args: argparse.Namespace) -> Prompt:
    """The prompt; without any option it is read from standard input, unless that is a terminal."""
    if getattr(args, "token_ids", None) is not None:
        return parse_ids(args.token_ids)
    if args.text is not None:
        return os.fsencode(args.text).decode()
    if args.prompt_file in (None, "-"):
        if args.prompt_file is None and _stdin_is_terminal():
            raise UsageError("give a text, or --prompt-file")
        return read_stdin().decode()
    try:
        return Path(args.prompt_file).read_bytes().decode()
    except OSError as error:
        raise UsageError(f"cannot read {args.prompt_file}: {error.strerror}") from None


def read_prompt(args: argparse.Namespace) -> Prompt | None:
    """As read_input; a session may be continued without anything new."""
    given = any(value is not None for value in (args.text, args.prompt_file, args.token_ids))
    if args.session and not given and _stdin_is_terminal():
        return None
    prompt = read_input(args)
    return None if args.session and not given and not prompt else prompt


def parse_ids(text: str) -> list[int]:
    try:
        ids = json.loads(text)
    except ValueError:
        ids = None
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < 1 << 32 for i in ids):
        raise UsageError(f"--token-ids is {json.dumps(text)}; allowed: a JSON array of whole numbers such as [1, 2, 3]")
    return ids


def add_generate(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    parser.add_argument("-n", "--max-tokens", type=whole, help="Most tokens to generate (server: 16)")
    for flag, kind, text, name in _SINGLE:
        parser.add_argument(flag, type=kind, help=text, dest=name)
    for flag, kind, text, name in _MANY:
        parser.add_argument(flag, type=kind, help=text, dest=name, action="append")
    for flag, text, name in _FLAGS:
        parser.add_argument(flag, help=text, dest=name, action="store_true", default=None)
    parser.add_argument("--logit-bias", metavar="ID=BIAS", action="append", help="Add to a logit; may repeat")
    parser.add_argument("--session", metavar="ID", help="Continue this session; only the new text is sent")
    parser.add_argument("--resume", metavar="TOKEN", help="Go on with what a server's shutdown interrupted")


def generate_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of Client.generate()."""
    flags = [name for _, _, name in _FLAGS]
    names = ["max_tokens", *flags, *(name for _, _, _, name in (*_SINGLE, *_MANY))]
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.logit_bias:
        options["logit_bias"] = dict(_bias(text) for text in args.logit_bias)
    return options


def _bias(text: str) -> tuple[int, float]:
    token, _, bias = text.partition("=")
    try:
        if int(token) >= 0:
            return int(token), float(bias)
    except ValueError:
        pass
    raise UsageError(f"--logit-bias is {json.dumps(text)}; allowed: a token id and a number, such as 42=-1.5")
