"""config.json of Hugging Face folders: what becomes of it, and what is refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from fma_convert.fields import Fields, parse_object
from fma_convert.refusal import Refused
from fma_convert.rope import Rope
from fma_convert.source import open_source
from fma_convert.texts import Given
from folders import converted, copied


def test_a_config_is_complete(tmp_path: Path) -> None:
    config = converted(copied("qwen3", tmp_path), tmp_path / "out", "--near", "8", "--max-tokens", "64", "--novel", "3")
    fma = config.pop("fma")
    assert fma == {
        "group_size": 8, "rank": 4, "num_levels": 2, "downsampling": "select", "scale_far_field": False,
        "padding": "masked", "sink_tokens": 4, "far_positions": "own", "select_novel": 3, "max_distance": 48,
        "open_units": 16, "open_size": 8,
    }  # fmt: skip
    assert config == {
        "architectures": ["FmaForCausalLM"], "model_type": "fma", "vocab_size": 48, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "max_position_embeddings": 64, "position_embedding": "rope", "rope_theta": 20.0,
        "norm": "rmsnorm", "norm_eps": 1e-6, "mlp": "swiglu", "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16", "qk_norm": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes, layers",
    [
        ({"no_rope_layers": None}, [3]),
        ({"no_rope_layers": None, "no_rope_layer_interval": 2}, [1, 3]),
        ({"no_rope_layers": [0, 1, 1, 0, 1]}, [0, 3]),
        ({"no_rope_layers": [1, 1, 1, 1]}, None),
    ],
)
def test_layers_without_rope(changes: dict[str, Any], layers: list[int] | None, tmp_path: Path) -> None:
    config = converted(copied("smollm3", tmp_path, **changes), tmp_path / "out")
    assert config.get("layers_without_rope") == layers


def test_new_folders_keep_rope_parameters(tmp_path: Path) -> None:
    both = {"rope_theta": 20.0, "rope_type": "linear", "factor": 2.0}
    old = converted(copied("llama_linear", tmp_path / "old"), tmp_path / "out" / "old")
    new = copied("llama_linear", tmp_path / "new", rope_parameters=both, rope_scaling=..., rope_theta=...)
    assert converted(new, tmp_path / "out" / "new") == old


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("llama3", {"architectures": ["GemmaForCausalLM"]}, r'is \["GemmaForCausalLM"\]; allowed: one of'),
        ("llama3", {"architectures": ...}, r'"architectures" is \[\]'),
        ("llama3", {"model_type": "mistral"}, '"model_type" is "mistral"; allowed: "llama"'),
        ("llama3", {"auto_map": {"AutoModel": "x.py"}}, "trust_remote_code"),
        ("llama3", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama3", {"num_local_experts": 8}, '"num_local_experts" is 8; allowed: null'),
        ("llama3", {"num_experts": 8}, "num_experts"),
        ("llama3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("llama3", {"hidden_act": "gelu"}, '"hidden_act" is "gelu"; allowed: "silu"'),
        ("llama3", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama3", {"hidden_size": 0}, '"hidden_size" is 0; allowed: an integer from 1'),
        ("llama3", {"hidden_size": True}, "hidden_size"),
        ("llama3", {"hidden_size": ...}, '"hidden_size" is missing'),
        ("llama3", {"num_key_value_heads": 3}, "num_key_value_heads"),
        ("llama3", {"head_dim": 7}, "head dimension is 7"),
        ("llama3", {"head_dim": ..., "num_attention_heads": 3, "num_key_value_heads": 3}, "num_attention_heads"),
        ("llama3", {"rms_norm_eps": "1e-6"}, "rms_norm_eps"),
        ("llama3", {"eos_token_id": 48}, '"eos_token_id" is 48; allowed: an id from 0 to 47'),
        ("llama3", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, 'is "dynamic"; allowed: default'),
        ("llama3", {"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        ("llama3", {"rope_scaling": {"type": "mrope", "mrope_section": [1]}}, "mrope"),
        ("llama3", {"rope_scaling": {"rope_type": "linear"}}, '"rope_scaling": "factor" is missing'),
        ("llama3", {"rope_scaling": 3}, '"rope_scaling" is 3; allowed: an object'),
        ("qwen2_yarn", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen2_yarn", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("qwen2_yarn", {"rope_scaling": {"rope_type": "yarn", "factor": 2, "truncate": False}}, "truncate"),
        ("smollm3", {"no_rope_layers": [1, 1]}, "no_rope_layers"),
        ("mistral", {"sliding_window": -1}, "sliding_window"),
    ],
)  # fmt: skip
def test_refused(name: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=message):
        open_source(copied(name, tmp_path, **changes), Given())


@pytest.mark.parametrize(
    "text, message",
    [
        ("[1]", r"is \[1\]; allowed: a JSON object"),
        ('{"a": 1, "a": 2}', '"a" stands twice'),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": ' * 65 + "1" + "}" * 65, "nested too deep"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        ('{"a": "\xff"}', "no JSON"),
        ("", "no JSON"),
    ],
)
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        parse_object(text.encode("latin-1"), "x.json")


def test_numbers_have_ranges() -> None:
    fields = Fields({"a": 1e999, "b": -1, "c": None}, "x.json")
    for key in ("a", "b", "c"):
        with pytest.raises(Refused, match=f'x.json: "{key}"'):
            fields.number(key, 0, 10)
    assert fields.number("c", 0, 10, 2.5) == 2.5


def test_a_mistral_with_a_window_is_made_for_its_window(tmp_path: Path) -> None:
    source = copied("mistral", tmp_path, sliding_window=48)
    assert converted(source, tmp_path / "out")["fma"]["max_distance"] == 48
    for options in (["--max-distance", "0"], ["--max-distance", "49"]):
        with pytest.raises(SystemExit, match="window"):
            converted(source, tmp_path / "no", *options)
    absent = open_source(copied("mistral", tmp_path / "absent", sliding_window=...), Given())
    assert absent.decoder.window == 4096  # what the architecture means by it
    assert open_source(copied("mistral", tmp_path / "none", sliding_window=None), Given()).decoder.window is None


def test_published_scaling_of_llama_3() -> None:
    """Of 64 frequencies of Llama 3.1, 29 are kept, 29 are divided by 8, and 6 lie between."""
    factors = Rope(500000.0, 128).llama3(8.0, 1.0, 4.0, 8192).factors
    assert factors is not None and factors == sorted(factors)
    assert factors.count(1.0) == 29 and factors.count(8.0) == 29
    scaling = Rope(1000000.0, 128).yarn(4.0, 32768)
    assert scaling.attention_factor == pytest.approx(0.1 * math.log(4) + 1)
    assert scaling.factors is not None and scaling.factors[0] == 1.0 and scaling.factors[-1] == 4.0
