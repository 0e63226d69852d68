"""The `fma` object of config.json: the shape of the attention, and which combinations are allowed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .checks import in_range, one_of, require

DOWNSAMPLINGS = ("grouped_conv", "conv", "average", "hierarchical", "select")
PADDINGS = ("masked", "zero_keys")
FAR_POSITIONS = (None, "center", "own", "none")
MAX_GROUP_SIZE = 1 << 16
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
        in_range("fma.num_levels", self.num_levels, 0, MAX_LEVELS)
        in_range("fma.sink_tokens", self.sink_tokens, 0, self.group_size, "group_size")
        one_of("fma.downsampling", self.downsampling, DOWNSAMPLINGS)
        one_of("fma.padding", self.padding, PADDINGS)
        one_of("fma.far_positions", self.far_positions, FAR_POSITIONS)
        require(
            not self.share_levels or self.downsampling == "hierarchical",
            f"fma.share_levels needs hierarchical downsampling, not {self.downsampling}",
        )
        require(
            self.max_distance == 0 or self.max_distance >= 4 * self.group_size,
            f"fma.max_distance {self.max_distance} is neither 0 nor at least 4 * group_size ({4 * self.group_size})",
        )
        if self.selects:
            self._check_selection()
        else:
            self._check_summaries()
        self._check_opening()
        if not self.causal:
            self._check_encoder()
        require(not (self.causal and self.query_downsampling), "fma.query_downsampling needs fma.causal false")

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
        require(self.group_size % self.rank == 0, f"fma.rank {self.rank} does not divide group_size {self.group_size}")
        require(self.far_positions != "own", f"fma.far_positions own needs select, not {self.downsampling}")
        require(self.select_lag is None, f"fma.select_lag needs select, not {self.downsampling}")
        require(self.select_novel is None, f"fma.select_novel needs select, not {self.downsampling}")

    def _check_selection(self) -> None:
        in_range("fma.rank", self.rank, 1, self.group_size - self.sink_tokens, "group_size - sink_tokens")
        require(not self.scale_far_field, "fma.scale_far_field has no meaning with select")
        require(self.padding == "masked", f"fma.padding {self.padding} has no meaning with select")
        require(self.far_positions != "center", "fma.far_positions center has no meaning with select: own or none")
        in_range("fma.select_lag", self.lag, 0, 2 * self.group_size - 1, "2 * group_size - 1")
        in_range("fma.select_novel", self.novel, 0, self.rank, "rank")

    def _check_opening(self) -> None:
        require(self.open_units >= 0, f"fma.open_units {self.open_units} is negative")
        require(self.open_units == 0 or self.selects, f"fma.open_units needs select, not {self.downsampling}")
        if self.open_units > 0 or self.open_size is not None:
            in_range("fma.open_size", self.unit_size, 1, self.group_size, "group_size")
            require(
                self.group_size % self.unit_size == 0,
                f"fma.open_size {self.unit_size} does not divide group_size {self.group_size}",
            )

    def _check_encoder(self) -> None:
        require(self.padding == "masked", f"fma.padding {self.padding} needs a causal model")
        require(self.sink_tokens == 0, f"fma.sink_tokens {self.sink_tokens} needs a causal model")
        require(not self.selects, "fma.downsampling select needs a causal model")
        require(self.max_distance == 0, f"fma.max_distance {self.max_distance} needs a causal model")
