"""The `fma` object of config.json: the shape of the attention, and which combinations are allowed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .checks import in_range, one_of, require

DOWNSAMPLINGS = ("grouped_conv", "conv", "average", "hierarchical", "select")
PADDINGS = ("masked", "zero_keys")
FAR_POSITIONS = (None, "center", "own", "none")
MAX_GROUP_SIZE = 4096
MAX_LEVELS = 40
DEFAULT_OPEN_SIZE = 32


@dataclass(frozen=True)
class FmaSettings:
    """The keys of `fma`; m, p, L, C, B, u are the symbols of the definition. None stands for an absent key.

    FmaConfig checks what also depends on the rest of the model (rope).
    """

    group_size: int  # m
    rank: int  # p
    num_levels: int  # L
    downsampling: str = "hierarchical"
    share_levels: bool = False
    scale_far_field: bool = False
    padding: str = "masked"
    level_bias: bool = False
    sink_tokens: int = 0
    far_positions: str | None = None
    select_lag: int | None = None
    select_novel: int | None = None
    max_distance: int = 0  # C; 0 is no bound
    open_units: int = 0  # B
    open_size: int | None = None  # u
    causal: bool = True
    query_downsampling: bool = False

    def __post_init__(self) -> None:
        in_range("fma.group_size", self.group_size, 1, MAX_GROUP_SIZE)
        in_range("fma.num_levels", self.num_levels, 1, MAX_LEVELS)
        in_range("fma.sink_tokens", self.sink_tokens, 0, self.group_size, "group_size")
        one_of("fma.downsampling", self.downsampling, DOWNSAMPLINGS)
        one_of("fma.padding", self.padding, PADDINGS)
        one_of("fma.far_positions", self.far_positions, FAR_POSITIONS)
        shares = not self.share_levels or self.downsampling == "hierarchical"
        require(shares, "fma.share_levels", self.share_levels, "false, or downsampling hierarchical")
        far = self.max_distance == 0 or self.max_distance >= 4 * self.group_size
        require(far, "fma.max_distance", self.max_distance, f"0, or 4 * group_size ({4 * self.group_size}) and more")
        if self.selects:
            self._check_selection()
        else:
            self._check_summaries()
        self._check_opening()
        if not self.causal:
            self._check_encoder()
        queries = not (self.causal and self.query_downsampling)
        require(queries, "fma.query_downsampling", True, "false, or fma.causal false")

    @property
    def selects(self) -> bool:
        """Whether groups are represented by their own tokens instead of learned summaries."""
        return self.downsampling == "select"

    @property
    def lag(self) -> int:
        """The distance from which a query's near-field attention counts for the choice of tokens."""
        return self.group_size // 4 if self.select_lag is None else self.select_lag

    @property
    def novel(self) -> int:
        """r, the representatives that are chosen for their novelty."""
        return self.rank // 2 if self.select_novel is None else self.select_novel

    @property
    def unit_size(self) -> int:
        """u, the tokens in a unit that may be opened."""
        return DEFAULT_OPEN_SIZE if self.open_size is None else self.open_size

    def level_width(self, level: int) -> int:
        """w_l, the tokens in a group of level 1..L."""
        return self.group_size << (level - 1)

    def to_dict(self) -> dict[str, Any]:
        """All keys, except absent ones and optional features that are off, which older readers do not know."""
        optional = ("max_distance", "open_units", "causal", "query_downsampling")
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {
            name: value
            for name, (value, default) in values.items()
            if value is not None and not (name in optional and value == default)
        }

    def _check_summaries(self) -> None:
        in_range("fma.rank", self.rank, 1, self.group_size, "group_size")
        divisors = f"divisors of group_size ({self.group_size})"
        require(self.group_size % self.rank == 0, "fma.rank", self.rank, divisors)
        require(self.far_positions != "own", "fma.far_positions", self.far_positions, "with select only")
        require(self.select_lag is None, "fma.select_lag", self.select_lag, "with select only")
        require(self.select_novel is None, "fma.select_novel", self.select_novel, "with select only")

    def _check_selection(self) -> None:
        in_range("fma.rank", self.rank, 1, self.group_size - self.sink_tokens, "group_size - sink_tokens")
        require(not self.scale_far_field, "fma.scale_far_field", True, "false with select")
        require(self.padding == "masked", "fma.padding", self.padding, "masked with select")
        require(self.far_positions != "center", "fma.far_positions", self.far_positions, "own or none with select")
        in_range("fma.select_lag", self.lag, 0, 2 * self.group_size - 1, "2 * group_size - 1")
        in_range("fma.select_novel", self.novel, 0, self.rank, "rank")

    def _check_opening(self) -> None:
        require(0 <= self.open_units <= 65536, "fma.open_units", self.open_units, "0 to 65536")
        require(self.open_units == 0 or self.selects, "fma.open_units", self.open_units, "0 without select")
        if self.open_units > 0 or self.open_size is not None:
            in_range("fma.open_size", self.unit_size, 1, self.group_size, "group_size")
            divisors = f"divisors of group_size ({self.group_size})"
            require(self.group_size % self.unit_size == 0, "fma.open_size", self.unit_size, divisors)

    def _check_encoder(self) -> None:
        require(self.padding == "masked", "fma.padding", self.padding, "masked in an encoder")
        require(self.sink_tokens == 0, "fma.sink_tokens", self.sink_tokens, "0 in an encoder")
        require(not self.selects, "fma.downsampling", self.downsampling, "a learned one or average in an encoder")
        require(self.max_distance == 0, "fma.max_distance", self.max_distance, "0 in an encoder")
