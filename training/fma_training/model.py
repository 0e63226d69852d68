"""The transformer around the attention ("Around the attention" and "Encoders" of the definition).

Module names are the tensor names of a checkpoint, so `state_dict()` is what is saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import FmaAttention
from .checks import Words, refusal
from .config import FmaConfig
from .downsampled_queries import DownsampledQueryAttention
from .norms import hidden_norm
from .plan import SequencePlan, sequence_plan
from .select_attention import SelectAttention
from .summary_attention import SummaryAttention

INITIAL_DEVIATION = 0.02

MakeAttention = Callable[[FmaConfig, int, int], FmaAttention]  # of a layer, with so many columns of level bias


def fma_attention(config: FmaConfig, layer: int, level_bias_columns: int) -> FmaAttention:
    """The attention that the config asks for."""
    if config.fma.selects:
        return SelectAttention(config, layer, level_bias_columns)
    if config.fma.query_downsampling:
        return DownsampledQueryAttention(config, layer, level_bias_columns)
    return SummaryAttention(config, layer, level_bias_columns)


class Mlp(nn.Module):
    def __init__(self, config: FmaConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        if self.kind == "swiglu":
            self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        if self.kind == "swiglu":
            return self.down_proj(F.silu(self.gate_proj(x)) * up)
        return self.down_proj(F.gelu(up, approximate="tanh" if self.kind == "gelu_tanh" else "none"))


class Layer(nn.Module):
    def __init__(self, config: FmaConfig, attention: FmaAttention) -> None:
        super().__init__()
        self.input_layernorm = hidden_norm(config)
        self.self_attn = attention
        self.post_attention_layernorm = hidden_norm(config)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, plan: SequencePlan) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), plan)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nn.Module):
    def __init__(self, config: FmaConfig, level_bias_columns: int, attention: MakeAttention) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.position_embedding == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(Layer(config, attention(config, i, level_bias_columns)) for i in layers)
        self.norm = hidden_norm(config)
        # Both limit the memory of training; what was not kept is computed again in the backward pass.
        self.blocks_at_once: int | None = None  # blocks whose scores are in memory; None: all
        self.checkpoint_layers = False  # keeps only a layer's input
        self._plans: dict[tuple[int, torch.device, int | None], SequencePlan] = {}

    def forward(self, tokens: Tensor) -> Tensor:
        """Final hidden states [B, n, hidden] of tokens [B, n]."""
        length = tokens.shape[1]
        x = self.embed_tokens(tokens)
        if self.config.position_embedding == "learned":
            if length > self.config.max_position_embeddings:
                raise ValueError(
                    refusal(
                        "sequence",
                        Words(f"{length} tokens"),
                        f"up to {self.config.max_position_embeddings}, the positions",
                    )
                )
            x = x + self.embed_positions.weight[:length]
        # Padded to whole blocks. In a decoder, what comes after a token cannot change it; encoders leave the padding
        # out.
        x = F.pad(x, (0, 0, 0, -length % self.config.fma.group_size))
        plan = self._plan(length if not self.config.fma.causal else x.shape[1], x.device)
        for layer in self.layers:
            if self.checkpoint_layers and torch.is_grad_enabled():
                x = checkpoint(layer, x, plan, use_reentrant=False)
            else:
                x = layer(x, plan)
        return self.norm(x[:, :length])

    def _plan(self, length: int, device: torch.device) -> SequencePlan:
        key = (length, device, self.blocks_at_once)
        if key not in self._plans:
            self._plans.clear()  # lengths come in runs, so it is enough to keep one plan
            self._plans[key] = sequence_plan(self.config, length, device, self.blocks_at_once)
        return self._plans[key]


class FmaModel(nn.Module):
    """A language model. `level_bias_columns` is that of the checkpoint; L when left out."""

    def __init__(
        self, config: FmaConfig, level_bias_columns: int | None = None, attention: MakeAttention = fma_attention
    ) -> None:
        super().__init__()
        self.config = config
        self.model = Transformer(config, level_bias_columns or config.fma.num_levels, attention)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Normal weights of deviation 0.02, smaller where a layer writes to the residual stream."""
        residual = INITIAL_DEVIATION / math.sqrt(2 * self.config.num_hidden_layers)
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                writes_residual = name.endswith(("o_proj", "down_proj"))
                nn.init.normal_(module.weight, std=residual if writes_residual else INITIAL_DEVIATION)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    @property
    def head_weight(self) -> Tensor:
        """The output matrix [V, hidden]."""
        return self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, n, V] of tokens [B, n]."""
        return F.linear(self.model(tokens), self.head_weight)


class FmaForCausalLM(FmaModel):
    """A decoder: the logits at position i predict token i + 1."""


class FmaForMaskedLM(FmaModel):
    """An encoder: the logits at position i predict token i."""

    def embed(self, tokens: Tensor) -> Tensor:
        """Unit vectors [B, hidden] of texts of equal length [B, n]."""
        return F.normalize(self.model(tokens).mean(1), dim=-1)


def make_model(
    config: FmaConfig, level_bias_columns: int | None = None, attention: MakeAttention = fma_attention
) -> FmaModel:
    """The model of the config's architecture, with random weights; another attention may be put in."""
    kind = FmaForCausalLM if config.fma.causal else FmaForMaskedLM
    return kind(config, level_bias_columns, attention)
