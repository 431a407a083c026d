"""What is trained: which layers, on which samples, by which loss?

B samples of a batch, S of all, T timesteps, F features, H units, G gates, O outputs
weights: kernel (F,GH)   recurrent_kernel (H,GH)   bias (GH,), (2,GH) where there are two
dense.kernel (H,O)   dense.bias (O,)   embeddings (V,F) of V indices
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import SIMPLE, Recurrence
from rnn_check.recurrences.penalties import Constraint, Regularizer

WEIGHTS = ("embeddings", "kernel", "recurrent_kernel", "bias", "dense.kernel", "dense.bias")


@dataclass(frozen=True)
class Network:
    """A recurrent layer whose last state, or each, goes through a Dense layer, or not; the loss is
    the mse.

    embedding: (V,F) of the table in which x are indices. mask: the steps that are not skipped.
    sample_weight: of the loss, off by weight_error. error: how far x may be from what was run.
    regularizers, constraints: by weight. activities: regularizers of all that the recurrent "layer"
    returns, its last states too if it returns_state, and of what "dense" does. zeros: whether it
    shows them at steps that the mask skips. frozen: the weights that are not trained, each with its
    error. mixed: what layers compute in that keep their weights in float32. scale: by which the
    loss is multiplied before its gradient is taken, which is divided by it: a power of two.
    """

    x: Array  # (S,T,F), or (S,T)
    target: Array  # (S,O), or (S,T,O) in processing order
    activation: str | None = "tanh"
    dense_activation: str | None = "linear"
    go_backwards: bool = False
    recurrence: Recurrence = SIMPLE
    recurrent_activation: str | None = "sigmoid"
    batch_size: int | None = None  # None: all samples
    embedding: tuple[int, int] | None = None
    mask: Array | None = None  # (S,T)
    sample_weight: Array | None = None  # (S,), or (S,T) in processing order
    weight_error: Array | float = 0.0
    error: Array | float = 0.0
    regularizers: Mapping[str, Regularizer] = field(default_factory=dict)
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    activities: Mapping[str, Regularizer] = field(default_factory=dict)
    returns_state: bool = False
    zeros: bool = False
    frozen: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    mixed: str = ""
    scale: float = 1.0
    stateful: bool = False  # whether a batch begins where the one before ended, of any epoch
    resets: bool = False  # whether it begins anew with each epoch

    @property
    def steps(self) -> Array:
        """(T,S,F) in processing order."""
        return self.in_steps(self.x)

    def in_steps(self, x: Array) -> Array:
        x = x[:, ::-1] if self.go_backwards else x
        return np.ascontiguousarray(x.swapaxes(0, 1), np.float64)

    @property
    def is_sequence(self) -> bool:
        """Whether each step has a target."""
        return self.target.ndim == 3

    @property
    def features(self) -> int:
        return self.x.shape[2] if self.embedding is None else self.embedding[1]

    @property
    def batches(self) -> list[slice]:
        """Of an epoch, which samples each update takes."""
        size, samples = self.batch_size or len(self.x), len(self.x)
        return [slice(at, min(at + size, samples)) for at in range(0, samples, size or 1)]

    def begins_anew(self, update: int) -> bool:
        """Whether that update, counted from 0, takes its batch from states that are 0."""
        first = update % max(1, len(self.batches)) == 0
        return not self.stateful or not update or (first and self.resets)

    @property
    def gates(self) -> int:
        return len(self.recurrence.gates)

    def shapes(self, units: int) -> dict[str, tuple[int, ...]]:
        """Of its weights, if the layers have all that they may have."""
        width = self.gates * units
        outputs = self.target.shape[-1]
        table = {} if self.embedding is None else {"embeddings": self.embedding}
        return {
            **table,
            "kernel": (self.features, width), "recurrent_kernel": (units, width),
            "bias": self.recurrence.bias_shape(units),
            "dense.kernel": (units, outputs), "dense.bias": (outputs,),
        }  # fmt: skip
