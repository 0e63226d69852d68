"""The commands of encoders: embed and fill-mask."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ._cli_options import add_input, connect, read_input, whole
from ._cli_output import write_embedding, write_filled, write_json
from .options import Prompt


def add_embed(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser)
    parser.add_argument("--truncate", action="store_true", help="Read the first tokens of a text that is too long")


def add_fill_mask(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser)
    parser.add_argument("--mask", default="[MASK]", help="What stands for a mask in the text")
    parser.add_argument("--top", type=whole, default=5, help="Tokens to list at every mask, 1 to 100")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    parser.add_argument("--lines", action="store_true", help="Each line of the input is a text of its own")


def _inputs(args: argparse.Namespace) -> list[Prompt]:
    text = read_input(args)
    if not args.lines or not isinstance(text, str):
        return [text]
    return list(text.removesuffix("\n").split("\n"))


def embed(args: argparse.Namespace) -> None:
    inputs = _inputs(args)
    with connect(args) as client:
        for index, embedding in enumerate(client.embed(inputs, truncate=args.truncate)):
            if args.json:
                write_json({"event": "embedding", "index": index, **asdict(embedding)})
            else:
                write_embedding(embedding)


def fill_mask(args: argparse.Namespace) -> None:
    inputs = _inputs(args)
    with connect(args) as client:
        for index, text in enumerate(client.fill_mask(inputs, mask=args.mask, top=args.top)):
            if args.json:
                write_json({"event": "text", "index": index, **asdict(text)})
            else:
                write_filled(text)
