"""Random layers: shapes, weights from subnormal to saturating, masks, initial states, cotangents.

`random_layer(seed)` is always the same layer. NumPy alone, so that whoever certifies a subject, in
whatever process and framework, can draw the very same ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ACTIVATIONS = (
    "linear", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu",
    "softplus", "softsign", "sigmoid", "log_sigmoid", "exponential", "hard_sigmoid", "hard_silu",
    "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "squareplus", "sparse_plus",
    "sparse_sigmoid", "mish", "softmax", "log_softmax", "sparsemax",
)  # fmt: skip
SCALES = ("ordinary", "saturating", "small", "tiny", "subnormal", "dyadic", "mixed")


@dataclass(frozen=True)
class Layer:
    """One layer, what goes in, and the cotangent of what comes out; all floats of one dtype."""

    seed: int
    scale: str
    activation: str
    x: Array  # (B,T,F)
    kernel: Array  # (F,H)
    recurrent_kernel: Array  # (H,H)
    bias: Array | None  # (H,)
    initial_state: Array | None  # (B,H)
    mask: Array | None  # (B,T) in input order
    go_backwards: bool
    cotangent: Array  # (B,T,H) in processing order, no two entries alike

    @property
    def arguments(self) -> dict[str, Any]:
        """As over_time.forward and the certificates take them."""
        return {
            "x": self.x, "kernel": self.kernel, "recurrent_kernel": self.recurrent_kernel,
            "bias": self.bias, "activation": self.activation, "initial_state": self.initial_state,
            "mask": self.mask, "go_backwards": self.go_backwards,
        }  # fmt: skip


def random_layer(
    seed: int, dtype: Any = np.float32, *, activation: str | None = None, most: int = 64
) -> Layer:
    """Layer number `seed`: 1 <= B <= 8, and 1 <= T, F, H <= most."""
    rng = np.random.default_rng(seed)
    B, T, F, H = (int(np.ceil(n ** rng.uniform())) for n in (8, most, most, most))
    name = str(rng.choice(ACTIVATIONS))
    name = name if activation is None else activation
    scale = str(rng.choice(SCALES))
    tiny = float(np.finfo(dtype).tiny)

    def normal(*shape: int, size: float = 1.0) -> Array:
        """Normal numbers of this standard deviation, in the manner of the scale."""
        values = rng.normal(size=shape)
        if scale == "saturating":
            values *= 10
        elif scale == "small":
            values /= 100
        elif scale == "tiny":
            values *= 2.0**20 * np.sqrt(tiny)
        elif scale == "subnormal":
            values *= np.where(rng.uniform(size=shape) < 0.5, tiny, np.sqrt(tiny))
        elif scale == "dyadic":
            return (np.round(4 * values) / 4).astype(dtype)
        elif scale == "mixed":
            values *= 2.0 ** rng.integers(-20, 6, size=shape)
        return np.asarray(size * values).astype(dtype)

    mask = None
    if rng.uniform() < 0.4:
        mask = rng.uniform(size=(B, T)) < rng.choice([0.3, 0.7, 0.95])
        if rng.uniform() < 0.5:  # as padding does it: a tail
            mask = np.arange(T) < rng.integers(0, T + 1, size=(B, 1))
    return Layer(
        seed=seed,
        scale=scale,
        activation=name,
        x=normal(B, T, F),
        kernel=normal(F, H, size=F**-0.5),
        recurrent_kernel=normal(H, H, size=H**-0.5),
        bias=normal(H) if rng.uniform() < 0.7 else None,
        initial_state=normal(B, H) if rng.uniform() < 0.4 else None,
        mask=mask,
        go_backwards=bool(rng.uniform() < 0.2),
        cotangent=rng.normal(size=(B, T, H)).astype(dtype),
    )


def random_layers(count: int, first: int = 0, dtype: Any = np.float32) -> Iterator[Layer]:
    """Layers first, first + 1, ..."""
    for seed in range(first, first + count):
        yield random_layer(seed, dtype)
