"""What decoding a token costs by the length of the text: with opened units, without, and what it takes at least.

    cost_by_length.py --model DIR      # measures, and writes results/cost-by-length.json
    cost_by_length.py                  # draws it: docs/images/cost-by-length.png

The least is what it costs without an archive and the time in which one thread of this machine reads all sketches in a
row. Everything is processor time of one thread, the fastest of some steps.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
RESULTS = Path(__file__).parent / "results/cost-by-length.json"
LENGTHS = (128, 8192, 16384, 32768, 65536, 131072)


def sketch_bytes(config: dict[str, Any], tokens: int) -> int:
    """Of all layers and KV heads, as docs/model.md counts them, with numbers of 16 bits."""
    fma, dim = config["fma"], config["head_dim"]
    unit = fma["open_size"]
    units = max(0, tokens // fma["group_size"] - 1) * fma["group_size"] // unit
    of_unit = 2 * (2 * dim + unit) + dim * unit // 4
    return int(config["num_hidden_layers"] * config["num_key_value_heads"] * units * of_unit)


def step_ms(model: Path, tokens: int, steps: int, *options: str) -> float:
    """The least processor time of a step."""
    command = [str(BIN / "step_speed"), "--model", str(model), "--device", "cpu", "--threads", "1"]
    command += ["--cache-dtype", "bf16", "--context", str(tokens), "--steps", str(steps), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout)["processor_ms_least"])


def read_rate() -> float:
    """Bytes that one thread reads in a second."""
    command = [str(BIN / "archive_scan"), "--tokens", "32768", "--threads", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return 1e9 * max(float(rate) for rate in re.findall(r"read .*?([\d.]+) GB/s", done.stdout))


def measure(model: Path, lengths: list[int], steps: int) -> dict[str, Any]:
    config = json.loads((model / "config.json").read_text("utf-8"))
    rows = [
        {
            "tokens": tokens,
            "opened": step_ms(model, tokens, steps),
            "constant": step_ms(model, tokens, steps, "--no-archive"),
            "sketch_bytes": sketch_bytes(config, tokens),
        }
        for tokens in lengths
    ]
    return {"bytes_per_second": read_rate(), "rows": rows}


def draw(results: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = results["rows"]
    tokens = [row["tokens"] for row in rows]
    least = [row["constant"] + 1e3 * row["sketch_bytes"] / results["bytes_per_second"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(6.5, 3.8))
    axes.plot(tokens, [row["opened"] for row in rows], "o-", color="C0", label="with 16 opened units")
    axes.plot(tokens, least, "--", color="C0", label="constant, and reading the sketches once")
    axes.plot(tokens, [row["constant"] for row in rows], "o-", color="C2", label="without an archive")
    axes.set(xlabel="tokens of context", ylabel="ms of processor time a token", ylim=(0, None), xlim=(0, None))
    axes.set_xticks([0, *tokens[-3:]], [f"{each:,}" for each in [0, *tokens[-3:]]])
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, help="folder that fma-convert wrote, with opened units")
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="in tokens")
    options.add_argument("--steps", type=int, default=20, help="of each, of which the fastest counts")
    arguments = options.parse_args()
    if arguments.model:
        found = measure(arguments.model, arguments.lengths, arguments.steps)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    draw(json.loads(RESULTS.read_text("utf-8")), ROOT / "docs/images/cost-by-length.png")


if __name__ == "__main__":
    main()
