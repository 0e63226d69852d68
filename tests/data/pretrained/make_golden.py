"""Makes the cases pretrained_* of ../golden of the models beside it: converted, with a near field far shorter than
the text, and the logits of the definition in float64. At every choice the last chosen and the next differ by 1e-3.

    python make_golden.py        in an environment with fma_convert (pip install ./tools/convert)
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
sys.path[:0] = [str(TESTS / "convert"), str(TESTS / "training"), str(TESTS.parent / "training")]

from floats import read_floats  # noqa: E402
from fma_convert.cli import main as convert  # noqa: E402
from fma_training.config import FmaConfig  # noqa: E402
from reference_select import SelectReference  # noqa: E402

TOKENS, PROMPT, GREEDY = 100, 90, 4
MARGIN = 1e-3
SHAPE = ["--near", "8", "--sinks", "2", "--rank", "3", "--open-units", "0"]
CASES = {
    "llama3": ["--max-tokens", "128", "--max-distance", "0"],
    "qwen2_yarn": ["--max-tokens", "128", "--max-distance", "40"],
    "qwen3": ["--max-tokens", "64", "--max-distance", "0", "--novel", "1"],  # ends past the horizon
    "smollm3": ["--max-tokens", "128", "--max-distance", "40"],
}


def make(name: str, options: list[str]) -> None:
    folder = HERE.parent / "golden" / f"pretrained_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    convert([str(HERE / name), str(folder), *SHAPE, *options])
    for file in ("README.md", "generation_config.json"):
        (folder / file).unlink()
    config, tensors = FmaConfig.load(folder), read_floats(folder / "model.safetensors")
    for seed in range(1000):
        tokens = np.random.default_rng(seed).integers(0, config.vocab_size, TOKENS).tolist()
        reference = SelectReference(config, tensors)
        logits = reference.logits(tokens)
        if reference.margin >= MARGIN:
            break
    text = tokens[:PROMPT]
    for _ in range(GREEDY):
        text.append(int(SelectReference(config, tensors).logits(text)[-1].argmax()))
    case = {"tokens": tokens, "greedy_prompt_len": PROMPT, "greedy": text[PROMPT:]}
    case["chosen"] = reference.states[0].chosen
    (folder / "case.json").write_text(json.dumps(case) + "\n", "utf-8")
    np.save(folder / "logits.npy", logits.astype(np.float32))
    print(f"{folder.name}: seed {seed}, margin {reference.margin:.1e}")


if __name__ == "__main__":
    for name, options in CASES.items():
        make(name, options)
