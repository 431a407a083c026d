"""Which layers may a claim speak of?  One file a family, one class a layer."""

from __future__ import annotations

from rnn_check.claims.layers.cells import Cell, Gated, Recurrence
from rnn_check.claims.layers.feedforward import Dense, Embedding, Masking
from rnn_check.claims.layers.layer import Layer, Part
from rnn_check.claims.layers.recurrent import RNN, AnyRecurrent, Carrying, Recurrent, SimpleRNN
from rnn_check.claims.layers.wrappers import Bidirectional, TimeDistributed

AnyLayer = AnyRecurrent | RNN | Bidirectional | TimeDistributed | Dense | Masking | Embedding

__all__ = [
    "RNN", "AnyLayer", "Bidirectional", "Carrying", "Cell", "Dense", "Embedding", "Gated", "Layer",
    "Masking", "Part", "Recurrence", "Recurrent", "SimpleRNN", "TimeDistributed",
]  # fmt: skip
