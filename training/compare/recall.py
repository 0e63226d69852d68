"""Recall by distance: names with a value are written into a text, and asked for so many tokens later.

A name is a mark, two letters, and a value of three letters; later come another mark and the two letters, and the value
is to be predicted. Everything else is the text that the row trains on, which nobody is asked for.
"""

from __future__ import annotations

import numpy as np
import torch
from fma_training.arrays import Integers
from fma_training.objective import Questions
from torch import Tensor

DISTANCES = (16, 32, 64, 128, 256, 448)  # from a name to the question
_TOLD, _ASKED = 1, 2  # bytes that no text has
_LETTERS = np.arange(ord("a"), ord("z") + 1)
_KEY, _VALUE = 2, 3
_SIZE = 1 + _KEY + _VALUE


def recall(windows: Tensor, rng: np.random.Generator) -> Questions:
    """One name for each distance in every window [B, n + 1], in order of distance: answers [B, distances * value]."""
    tokens = windows[:, :-1].cpu().numpy().copy()
    places = np.stack([_plant(row, rng) for row in tokens])
    given = torch.from_numpy(tokens).to(windows.device)
    asked = torch.from_numpy(places).to(windows.device)
    # The logits at a place predict the token after it.
    return Questions(given, asked - 1, given.gather(1, asked))


def answer_distances(windows: int) -> Integers:
    """The index in DISTANCES of each answer of `recall`, [windows, k]."""
    return np.tile(np.repeat(np.arange(len(DISTANCES)), _VALUE), (windows, 1))


def _plant(row: Integers, rng: np.random.Generator) -> Integers:
    """Writes names and questions into one window, none over another, and returns the places of the values asked for."""
    taken = np.zeros(len(row), bool)
    places: dict[int, Integers] = {}
    for distance in sorted(DISTANCES, reverse=True):  # the longest first: it has the least choice
        starts = rng.permutation(len(row) - distance - _SIZE + 1)
        free = (s for s in starts if not (taken[s : s + _SIZE].any() or taken[s + distance :][:_SIZE].any()))
        start = next(free)
        name = rng.choice(_LETTERS, _KEY + _VALUE)
        for at, mark in ((start, _TOLD), (start + distance, _ASKED)):
            row[at] = mark
            row[at + 1 : at + _SIZE] = name
            taken[at : at + _SIZE] = True
        places[distance] = start + distance + 1 + _KEY + np.arange(_VALUE)
    return np.concatenate([places[distance] for distance in DISTANCES])
