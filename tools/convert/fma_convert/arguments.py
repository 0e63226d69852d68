"""Makes a checkpoint folder of FMA Server from a pretrained transformer on your disk, without training.

  fma-convert SmolLM2-1.7B-Instruct models/smol
  fma-convert Qwen3-4B-Q4_K_M.gguf models/qwen --session-memory 256M

SOURCE is a Hugging Face folder (config.json and safetensors, in shards or not) or a GGUF file (F32, F16, BF16, Q8_0,
Q4_0, Q4_1, K-quants). Architectures: Llama, Mistral, Qwen2, Qwen3, SmolLM2, SmolLM3. Nothing is downloaded, no pickle
is opened, and no code that comes with a model is run.

The weights stay what they are. What changes is what the model keeps of a text: the newest tokens exactly (--near), and
of the older past, coarser with distance, the tokens that got the most attention and those unlike their neighbours
(--rank of every group). So a session has one size, however long the text (--max-tokens), and either you say how large
near field and rank are, or --session-memory says what a session may take and they are chosen. The more, the closer to
the original model.

Beside the session, in cheap memory, the server keeps an archive of every token, of which each query reads the few units
that it is drawn to (--open-units). It grows with the text. Without it (--open-units 0, or the server's --no-archive)
memory is constant, and what was not chosen is forgotten.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .blocks import KINDS
from .checkpoint import DTYPES, KEEP
from .far_field import CACHE_TYPES, DEFAULT_NEAR, DEFAULT_OPEN_UNITS, DEFAULT_SINKS, DEFAULT_TOKENS

_SIZE = re.compile(r"(\d{1,18})([KMGT]?)i?B?", re.IGNORECASE)


def size(text: str) -> int:
    """Bytes; 64M, 2G."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; allowed: bytes, or a number with K, M, G or T")
    return int(match[1]) << (10 * " KMGT".index(match[2].upper() or " "))


def count(text: str) -> int:
    """A number of tokens; 64K, 1M are powers of two."""
    value = size(text)
    if value > 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r} is too many; allowed: up to 2^40")
    return value


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fma-convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a Hugging Face folder or a GGUF file")
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to make; its name becomes the model's")
    _add_shape(parser)
    _add_files(parser)
    arguments = parser.parse_args(words)
    if arguments.session_memory is not None and arguments.rank is not None:
        parser.error("argument --rank: not allowed with argument --session-memory")
    return arguments


def _add_shape(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what a session keeps")
    either = group.add_mutually_exclusive_group()
    near = f"at least so many of the newest tokens stay exact (default {DEFAULT_NEAR})"
    either.add_argument("--near", type=count, metavar="M", help=near)
    memory = "choose near field and rank so that a session fits: 64M, 1G"
    either.add_argument("--session-memory", type=size, metavar="SIZE", help=memory)
    rank = "tokens that stand for each older group (default half of --near)"
    group.add_argument("--rank", type=count, metavar="P", help=rank)
    reach = "how far back a session reaches; each doubling costs 2P tokens more (default 1M, which is 1,048,576)"
    group.add_argument("--max-tokens", type=count, metavar="N", default=DEFAULT_TOKENS, help=reach)
    sinks = "first tokens of a text, which stay for ever (default %(default)s)"
    group.add_argument("--sinks", type=count, metavar="S", default=DEFAULT_SINKS, help=sinks)
    novel = "of each rank, those chosen for being unlike the others (default half)"
    group.add_argument("--novel", type=count, metavar="R", help=novel)
    distance = (
        "the old past seems exactly so far away, because training saw no farther "
        "(default 3/4 of the length that the model is made for, and of long ones 8,192 or 3/8; 0: as far as it is)"
    )
    group.add_argument("--max-distance", type=count, metavar="C", help=distance)
    units = "units of the older past that each query reads out of an archive; 0: no archive (default %(default)s)"
    group.add_argument("--open-units", type=count, metavar="B", default=DEFAULT_OPEN_UNITS, help=units)
    unit = "tokens of such a unit; divides the near field (default 32, or the largest divisor below it)"
    group.add_argument("--open-size", type=count, metavar="U", help=unit)
    cache = "what the server will be told, for --session-memory (default %(default)s)"
    group.add_argument("--cache-dtype", choices=CACHE_TYPES, default="f32", help=cache)


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    dtype = "numbers of the weights (default: as they are; quantised ones become bfloat16, see --weights)"
    group.add_argument("--dtype", choices=DTYPES, default=KEEP, help=dtype)
    weights = (
        "the large weights as integers in blocks of 32, which only the cpu of the server multiplies; Q8_0, Q4_0 and "
        "Q4_1 of a GGUF file stay what they are, bit for bit, and as-is keeps them and rounds nothing else"
    )
    group.add_argument("--weights", choices=KINDS, help=weights)
    tokenizer = "a tokenizer.json in place of the source's own"
    group.add_argument("--tokenizer", type=Path, metavar="FILE", help=tokenizer)
    template = "a Jinja template in place of the source's own"
    group.add_argument("--chat-template", type=Path, metavar="FILE", help=template)
