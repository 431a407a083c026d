"""Claims in which every number is a small integer, so that float64 makes no error."""

from __future__ import annotations

import numpy as np

LAYERS = {
    "SimpleRNN": ('kind = "SimpleRNN"', 1, ""),
    "LSTM": ('kind = "LSTM"\nrecurrent_activation = "linear"', 4, ""),
    "GRU": ('kind = "GRU"\nrecurrent_activation = "linear"', 3, "rows"),
    "GRU before": ('kind = "GRU"\nrecurrent_activation = "linear"\nreset_after = false', 3, ""),
}


def whole_numbers(kind: str, more: str = "", start: str = "") -> str:
    """more: keys of the layer; start: what stands in [input] beside x."""
    layer, gates, rows = LAYERS[kind]
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> list[object]:
        found: list[object] = rng.integers(-1, 2, shape).tolist()
        return found

    bias = draw(2, 2 * gates) if rows else draw(2 * gates)
    return f"""
schema = 1
title = "whole numbers"
source = {{ document = "a test" }}
[layer]
{layer}
name = "rnn"
units = 2
activation = "linear"
return_sequences = true
{more}
[weights]
kernel = {draw(3, 2 * gates)}
recurrent_kernel = {draw(2, 2 * gates)}
bias = {bias}
[input]
x = {draw(2, 3, 3)}
{start}
[[expect]]
what = "certified"
value = true
from = "itself"
"""
