"""Makes the folders beside it: tiny random models of every architecture that fma-convert reads, saved by the
original library, and the logits that it computes.

    python make_models.py        needs PyPI torch and transformers 4.57
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

HERE = Path(__file__).parent
TOKENS = 40
SHAPE: dict[str, Any] = {
    "vocab_size": 48, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "rope_theta": 20.0, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
ONE_KV_HEAD = {"num_attention_heads": 2, "num_key_value_heads": 1}
LLAMA3 = {
    "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 1.5, "beta_slow": 0.5,
}  # fmt: skip
MODELS: dict[str, tuple[PretrainedConfig, torch.dtype]] = {
    "llama_linear": (
        LlamaConfig(**SHAPE, rope_scaling={"rope_type": "linear", "factor": 2.0}, attention_bias=True, mlp_bias=True),
        torch.float32,
    ),
    "llama3": (LlamaConfig(**SHAPE, rope_scaling=LLAMA3, tie_word_embeddings=True, head_dim=8), torch.float32),
    "mistral": (MistralConfig(**{**SHAPE, "max_position_embeddings": 256}, sliding_window=80), torch.float16),
    "qwen2_yarn": (Qwen2Config(**{**SHAPE, **ONE_KV_HEAD}, rope_scaling=YARN), torch.float32),
    "qwen3": (Qwen3Config(**SHAPE, head_dim=8), torch.bfloat16),
    "smollm3": (SmolLM3Config(**{**SHAPE, "num_hidden_layers": 4}), torch.float32),
}


def make(name: str, config: PretrainedConfig, dtype: torch.dtype) -> None:
    torch.manual_seed(len(name))
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    model.to(dtype).save_pretrained(HERE / name, max_shard_size="12KB" if name == "llama3" else "1GB")
    tokens = np.random.default_rng(len(name)).integers(0, config.vocab_size, TOKENS).tolist()
    # Loaded again: to() would have rounded the rotary frequencies too.
    model = AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float64)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    (HERE / name / "tokens.json").write_text(json.dumps(tokens) + "\n", "utf-8")
    np.save(HERE / name / "logits.npy", logits.float().numpy())


if __name__ == "__main__":
    for name, (config, dtype) in MODELS.items():
        make(name, config, dtype)
