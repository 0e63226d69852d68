"""The program fma-convert."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from .arguments import parse_arguments
from .card import cost_table, far_field_in_words, in_words
from .checkpoint import Numbers, weight_bytes, write_checkpoint, written_tensors
from .far_field import FarField, Wishes, choose
from .refusal import Refused
from .source import Source, open_source
from .texts import Given

_PROGRESS_AFTER = 2.0  # seconds


def summary(source: Source, far: FarField) -> str:
    """What is about to be made, and what it will cost."""
    decoder = source.decoder
    lines = [
        f"{source.path}: {decoder.architecture}, {decoder.num_layers} layers, {decoder.hidden_size} wide, "
        f"made for {decoder.max_length:,} tokens",
        f"A session keeps {far_field_in_words(far)}.",
    ]
    if decoder.window is not None:
        lines.append(
            f"Its layers looked {decoder.window:,} tokens back in training: longer texts are read in another way."
        )
    if not source.texts.tokenizer:
        lines.append("There is no tokenizer: the model will be served by token ids.")
    if source.texts.chat_template is None:
        lines.append("There is no chat template: the model continues texts, and cannot chat.")
    table = cost_table(source, far)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines += ["About what a session takes, beside an ordinary cache of the same model:"]
    lines += ["  " + "   ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(lines)


def convert(arguments: argparse.Namespace) -> None:
    source = open_source(arguments.source, Given(arguments.tokenizer, arguments.chat_template))
    wishes = Wishes(
        near=arguments.near,
        rank=arguments.rank,
        max_tokens=arguments.max_tokens,
        session_memory=arguments.session_memory,
        sinks=arguments.sinks,
        novel=arguments.novel,
        max_distance=arguments.max_distance,
        cache=arguments.cache_dtype,
        open_units=arguments.open_units,
        open_size=arguments.open_size,
    )
    far = choose(wishes, source.decoder)
    print(summary(source, far), flush=True)
    tensors = written_tensors(source, Numbers(arguments.dtype, arguments.weights))
    total = weight_bytes(tensors)
    with tqdm(total=total, unit="B", unit_scale=True, delay=_PROGRESS_AFTER, desc="weights", disable=None) as bar:
        write_checkpoint(arguments.out, source, far, tensors, bar.update)
    print(f"{arguments.out}: {in_words(total)} of weights. Serve it: fma-server --model {arguments.out}")


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    try:
        convert(arguments)
    except (Refused, OSError) as error:
        sys.exit(f"fma-convert: {error}")
    except KeyboardInterrupt:
        sys.exit("fma-convert: interrupted; nothing was kept")


if __name__ == "__main__":
    main()
