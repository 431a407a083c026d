"""Random layers: shapes, weights from subnormal to saturating, masks, initial states, cotangents.

`random_layer(seed)` is always the same layer. NumPy alone, so that whoever certifies a subject, in
whatever process and framework, can draw the very same ones.
"""

import dataclasses
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


@dataclass(frozen=True)
class Gated(Layer):
    """The same of a GRU or an LSTM, whose kernels and biases are wider."""

    recurrence: str
    recurrent_activation: str
    reset_after: bool  # of a GRU
    initial_cell_state: Array | None  # (B,H), of an LSTM with an initial state

    @property
    def arguments(self) -> dict[str, Any]:
        """As the certificates take them."""
        arguments = super().arguments | {
            "recurrence": self.recurrence, "recurrent_activation": self.recurrent_activation,
            "reset_after": self.reset_after,
        }  # fmt: skip
        if self.recurrence == "lstm" and self.initial_state is not None:
            arguments["initial_state"] = (self.initial_state, self.initial_cell_state)
        return arguments


def random_gated(seed: int, recurrence: str, dtype: Any = np.float32, most: int = 64) -> Gated:
    """Layer number `seed` of this recurrence: what random_layer draws, with gates."""
    rng = np.random.default_rng([seed, 1])
    reset_after = recurrence == "lstm" or bool(rng.uniform() < 0.6)
    usual = rng.uniform(size=2) < 0.5
    names = ["tanh" if usual[0] else str(rng.choice(ACTIVATIONS)),
             "sigmoid" if usual[1] else str(rng.choice(ACTIVATIONS))]  # fmt: skip
    gates = 4 if recurrence == "lstm" else 3
    simple = random_layer(seed, dtype, activation=names[0], most=most)
    rows = 2 if recurrence == "gru" and reset_after else 1
    # as many layers of the same scale as there are gates, side by side
    shapes = {"kernel": (1, gates), "recurrent_kernel": (1, gates), "bias": (rows, gates)}

    def wide(name: str) -> Array | None:
        like = getattr(simple, name)
        if like is None:
            return None
        like = np.atleast_2d(like)
        (m, n), (times, across) = like.shape, shapes[name]
        flat = rng.choice(like.reshape(-1), size=(m * times, n * across))
        sign = rng.choice([-1.0, 1.0], size=flat.shape)
        drawn = (flat * sign * rng.choice([0.5, 1.0], size=flat.shape)).astype(dtype)
        return drawn[0] if name == "bias" and rows == 1 else drawn

    start = simple.initial_state if recurrence == "lstm" else None
    fields = {f.name: getattr(simple, f.name) for f in dataclasses.fields(Layer)}
    return Gated(
        **fields | {name: wide(name) for name in shapes},
        recurrence=recurrence,
        recurrent_activation=names[1],
        reset_after=reset_after,
        initial_cell_state=start[::-1].copy()
        if recurrence == "lstm" and start is not None
        else None,
    )


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
