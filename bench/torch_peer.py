"""A full key/value cache for comparison: PyTorch decodes one token of a model of step_speed's shape.

    python3 bench/torch_peer.py --context 1024 8192 32768 131072

It uses random bfloat16 weights and scaled-dot-product attention over a cache of the whole context, with the step
captured as a CUDA graph. Prints one JSON object for each context.
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch
from torch.nn import functional


def make_layers(args: argparse.Namespace, context: int) -> list[dict[str, torch.Tensor]]:
    hidden, inner = args.hidden, args.intermediate
    cache = (args.sequences, hidden // args.head_dim, context + 1, args.head_dim)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) * 0.02

    return [
        {
            "norm": torch.ones(hidden, device="cuda", dtype=torch.bfloat16),
            "qkv": random(3 * hidden, hidden),
            "out": random(hidden, hidden),
            "up": random(2 * inner, hidden),
            "down": random(hidden, inner),
            "keys": torch.zeros(cache, device="cuda", dtype=torch.bfloat16),
            "values": torch.zeros(cache, device="cuda", dtype=torch.bfloat16),
        }
        for _ in range(args.layers)
    ]


def decode(x: torch.Tensor, layers: list[dict[str, torch.Tensor]], head: torch.Tensor, head_dim: int) -> torch.Tensor:
    sequences, hidden = x.shape
    for layer in layers:
        normed = functional.rms_norm(x, (hidden,), layer["norm"])
        q, k, v = (normed @ layer["qkv"].T).view(sequences, 3, hidden // head_dim, 1, head_dim).unbind(1)
        layer["keys"][:, :, -1:] = k
        layer["values"][:, :, -1:] = v
        attended = functional.scaled_dot_product_attention(q, layer["keys"], layer["values"])
        x = x + attended.reshape(sequences, hidden) @ layer["out"].T
        gate, up = (functional.rms_norm(x, (hidden,), layer["norm"]) @ layer["up"].T).chunk(2, dim=-1)
        x = x + (functional.silu(gate) * up) @ layer["down"].T
    return x @ head.T


def measure(args: argparse.Namespace, context: int) -> dict[str, object]:
    layers = make_layers(args, context)
    head = torch.randn(args.vocab, args.hidden, device="cuda", dtype=torch.bfloat16)
    x = torch.randn(args.sequences, args.hidden, device="cuda", dtype=torch.bfloat16)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            decode(x, layers, head, args.head_dim)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        decode(x, layers, head, args.head_dim)
    times = []
    for _ in range(args.steps):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    cache = sum(2 * layer["keys"].numel() * 2 for layer in layers)
    return {
        "peer": "PyTorch " + torch.__version__,
        "gpu": torch.cuda.get_device_name(),
        "sequences": args.sequences,
        "context": context,
        "step_ms_median": statistics.median(times),
        "cache_bytes": cache,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, nargs="+", default=[1024, 8192, 32768, 131072])
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=5504)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--vocab", type=int, default=32768)
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    for context in args.context:
        with torch.inference_mode():
            print(json.dumps(measure(args, context)), flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
