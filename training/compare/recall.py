"""Recall by distance: names with a value are written into a text, and come back so many tokens later, where their value
is to be predicted.

A name is one byte and so is its value; both are bytes that an English text does not have. Everything else is the text
that the row trains on, which nobody is asked for.
(Associative recall of many pairs, as in arXiv 2312.04927.)
"""

from __future__ import annotations

import numpy as np
import torch
from fma_training.arrays import Integers
from fma_training.objective import Questions
from torch import Tensor

DISTANCES = (16, 32, 64, 128, 256, 448)  # from a name to the question
NAMES, VALUES = np.arange(128, 192), np.arange(192, 256)
_EACH = 4  # names of a window for each distance
_PAIR = 2
_OTHER = ord("?")  # in place of the text's own bytes from 128 on


def recall(windows: Tensor, rng: np.random.Generator) -> Questions:
    """_EACH names for each distance in every window [B, n + 1], by distance: answers [B, distances * _EACH]."""
    tokens = windows[:, :-1].cpu().numpy().copy()
    tokens[tokens >= NAMES[0]] = _OTHER
    places = np.stack([_plant(row, rng) for row in tokens])
    given = torch.from_numpy(tokens).to(windows.device)
    asked = torch.from_numpy(places).to(windows.device)
    # The logits at a place predict the token after it.
    return Questions(given, asked - 1, given.gather(1, asked))


def answer_distances(windows: int) -> Integers:
    """The index in DISTANCES of each answer of `recall`, [windows, k]."""
    return np.tile(np.repeat(np.arange(len(DISTANCES)), _EACH), (windows, 1))


def _plant(row: Integers, rng: np.random.Generator) -> Integers:
    """Writes names and questions into one window, none over another, and returns the places of the values asked for."""
    distances = np.repeat(DISTANCES, _EACH)
    names = rng.choice(NAMES, len(distances), replace=False)
    values = rng.choice(VALUES, len(distances))
    taken = np.zeros(len(row), bool)
    places = np.zeros(len(distances), np.int64)
    for i in reversed(range(len(distances))):  # the longest distance first: it has the least choice
        starts = rng.permutation(len(row) - distances[i] - _PAIR + 1)
        start = next(s for s in starts if not (taken[s:][:_PAIR].any() or taken[s + distances[i] :][:_PAIR].any()))
        for at in (start, start + distances[i]):
            row[at : at + _PAIR] = names[i], values[i]
            taken[at : at + _PAIR] = True
        places[i] = start + distances[i] + 1
    return places
