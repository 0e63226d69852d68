"""Makes a checkpoint folder from a training run's last saved state.

python3 -m fma_training.export --work RUN --config config.json --tokenizer tokenizer.model --out FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .checkpoint import DTYPES, save_model
from .config import FmaConfig
from .stability import bound_merges
from .train import STATE_FILE


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, with state.pt")
    parser.add_argument("--config", type=Path, required=True, help="the config.json that the run was given")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.model to put beside the weights")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="(default %(default)s)")
    parser.add_argument(
        "--bound-merges",
        action="store_true",
        help="scale shared merges so that levels deeper than training saw cannot grow: for long contexts",
    )
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    # The state is the trainer's own file; a pickle from elsewhere could run code.
    state = torch.load(arguments.work / STATE_FILE, map_location="cpu")
    config = FmaConfig.load(arguments.config)
    tensors = bound_merges(config, state["model"]) if arguments.bound_merges else state["model"]
    save_model(arguments.out, config, tensors, arguments.dtype, arguments.tokenizer)
    print(f"{arguments.out}: step {state['step']}, {arguments.dtype}")


if __name__ == "__main__":
    main()
