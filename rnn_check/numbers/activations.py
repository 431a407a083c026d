"""What is known of an activation?

One entry of one table, `ACTIVATIONS`, is all of it: function and derivative (see `formulas`), where
they turn, what values there are, and the largest errors of frameworks that were measured. To add
one is to add an entry.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import formulas as f
from rnn_check.numbers.formats import Array
from rnn_check.refusal import nearest


class Extent(NamedTuple):
    """Suprema over the arguments within d of z."""

    low: Array  # z - d
    z: Array  # of |z|
    h: Array  # of |act|
    slope: Array  # of |act'|


class Closed(NamedTuple):
    """What bounds the spread of an activation in closed form.

    |act''| <= rate·|act'| is |(log act')'| <= rate. So over [z - Δ, z + Δ] act' stays between
    act'(z)·exp(∓rate·Δ), and act within Δ times the latter of act(z). It never is steeper than 1.
    """

    act: np.ufunc | None  # where `quick`
    slope: Callable[[Array], Any]  # act'(z) from h = act(z)
    rate: float
    most: float  # the largest |h| there is
    own: float  # NumPy's error, in units of u·|h|: 4 ulp
    quick: bool = False  # whether `steps` may look for suspects in float32: linear and tanh


_MARGIN = 2  # for CPUs, versions and arguments that were not measured


@dataclass(frozen=True)
class Activation:
    """All that is known of an activation; z and h = function(z) are arrays of one shape and dtype.

    measured   the largest errors found of act and of act', in the units of spread.activation_unit
               and derivative_unit, by tools/measure_activations.py: Keras 3.15.1 on TensorFlow
               2.21.0, JAX 0.10.2, PyTorch 2.13.0, NumPy 2.4.6 and OpenVINO 2026.4.1, eager and
               compiled, on every number of float16 and bfloat16, and a sample of float32
               (TensorFlow: every one) and of float64. docs/activations.md has each, by backend and
               dtype, and what is not allowed for, because it is not rounding.
    values     the least and the largest h there is
    turns      (z, h) where act changes direction, and both values at a jump
    slopes     (z, s) where act' changes direction, and both one-sided limits at a kink
               Between neighbours in turns (slopes) act (act') is monotone, so that its extremes
               over an interval are at the ends or in the list.
    blur       how far from a kink, in u, frameworks may already be on its other side: hard_sigmoid
               rounds z + 3, sparse_sigmoid z + 1; TensorFlow decides selu's side by an h that
               cancels to 0
    scale, slope_scale   the size in units of which the errors of a framework's act, act' are given
    copies     act only chooses or copies: it is exact, but for a flushed subnormal
    exact_slope   act' is exact
    chooses    by comparison, so that a NaN may come out as any of the choices
    squares    z² is on the way to it, and may overflow
    of_z       z is a factor of it: a product with it may be taken with z first
    by_state   how far act' may move if it is made of an h that was rounded by r, |h| <= most; None:
               as if z were rounded, as what is made of pieces of slope 1 does
    closed     its spread in closed form, if it has one
    """

    name: str
    function: Callable[[Array], Array]  # z -> h
    vjp: Callable[[Array, Array, Array], Array]  # (g, z, h) -> dz, where g = dL/dh
    measured: tuple[float, float]
    derivative: Callable[[Array, Array], Array] | None = None  # (z, h) -> act'(z); elementwise only
    into: Callable[[Array, Array], object] | None = None  # function, written into a given array
    values: tuple[float, float] = (-math.inf, math.inf)
    turns: tuple[tuple[float, float], ...] = ()
    slopes: tuple[tuple[float, float], ...] = ()
    jumps: bool = False
    blur: float = 0.0
    scale: Callable[[Extent], Array] = lambda r: r.h
    slope_scale: Callable[[Extent], Array] = lambda r: r.slope
    copies: bool = False
    exact_slope: bool = False
    chooses: bool = False
    squares: bool = False
    of_z: bool = False
    by_state: Callable[[Array, Array], Array] | None = None
    closed: Closed | None = None

    @property
    def c(self) -> float:
        """How many units of error are allowed to a framework's act."""
        return _MARGIN * self.measured[0]

    @property
    def c_slope(self) -> float:
        """The same of act'."""
        return _MARGIN * self.measured[1]


_SILU = 1.2784645427610738  # silu's least value is 1 - _SILU, at -_SILU


def _one(r: Extent) -> Array:
    return np.ones_like(r.z)


def _size(r: Extent) -> Array:
    return r.h


def _argument(r: Extent) -> Array:
    return r.z


def _if_negative(scale: Callable[[Extent], Array]) -> Callable[[Extent], Array]:
    """Exact for z >= 0, where act(z) is z."""
    return lambda r: np.where(r.low < 0, scale(r), 0)


def _one_and_z(r: Extent) -> Array:
    return 1 + np.minimum(r.z, 40)  # beyond 40 the factor whose error z multiplies is 0 or 1


def _beyond_minus_4(scale: Callable[[Extent], Array]) -> Callable[[Extent], Array]:
    """Exact below, where act is 0: there z/6 + 1/2, which cancels at -3, is negative anyhow."""
    return lambda r: np.where((r.h > 0) | (r.low > -4), scale(r), 0)


def elementwise(
    name: str,
    function: Callable[[Array], Array],
    derivative: Callable[[Array, Array], Array],
    measured: tuple[float, float],
    **known: Any,
) -> Activation:
    """The entry of an activation of single numbers; `known` as Activation has it."""
    vjp = lambda g, z, h: g * derivative(z, h)  # noqa: E731
    return Activation(name, function, vjp, measured, derivative, **known)


def _from_state(most: Array, r: Array) -> Array:
    """act' is h, or h and a constant."""
    return np.asarray(r + 0 * most)


_ALL = (
    elementwise(
        "linear", lambda z: z, lambda z, h: np.ones_like(z), (0, 0),
        into=lambda z, h: np.copyto(h, z), copies=True, exact_slope=True,
        closed=Closed(np.positive, np.ones_like, 0.0, math.inf, 0.0, quick=True),
    ),
    elementwise(
        "tanh", np.tanh, lambda z, h: (1 - h) * (1 + h), (7.38, 14.8), into=np.tanh, values=(-1, 1),
        slopes=((0, 1),), slope_scale=_one,  # 1 - h·h cancels
        by_state=lambda most, r: r * (2 * most + r),  # 1 - h²
        closed=Closed(np.tanh, lambda h: 1 - h * h, 2.0, 1.0, 8.0, quick=True),
    ),
    elementwise(
        "relu", f.relu, lambda z, h: f.one_where(z > 0, z), (0, 0),
        into=lambda z, h: np.maximum(z, 0, out=h),
        slopes=((0, 0), (0, 1)), copies=True, exact_slope=True, chooses=True,
    ),
    elementwise(
        "relu6", f.relu6, lambda z, h: f.one_where((z > 0) & (z < 6), z), (0, 0), values=(0, 6),
        slopes=((0, 0), (0, 1), (6, 1), (6, 0)), copies=True, exact_slope=True, chooses=True,
    ),
    elementwise(
        "leaky_relu", f.leaky_relu, lambda z, h: np.where(z > 0, np.ones_like(z), 0.2), (2.6, 0.5),
        slopes=((0, 0.2), (0, 1)), scale=_if_negative(_size), chooses=True,
    ),
    # TensorFlow computes elu and selu of a negative number as exp(z) - 1, and act' as h + 1
    elementwise(
        "elu", f.elu, f.elu_derivative, (1.94, 2.08),
        scale=_if_negative(_one), slope_scale=_one, chooses=True, by_state=_from_state,
    ),
    elementwise(  # the same at Keras's alpha = 1
        "celu", f.elu, f.elu_derivative, (6.31, 2.08),
        scale=_if_negative(_size), slope_scale=_one,  # act' is h + 1 in JAX
        chooses=True, by_state=_from_state,
    ),
    elementwise(
        "selu", f.selu, f.selu_derivative, (2.41, 5.02),
        slopes=((0, f.SELU_SCALE * f.SELU_ALPHA), (0, f.SELU_SCALE)), blur=1,
        scale=lambda r: np.where(r.low < 0, 1 + r.h, r.h), slope_scale=_one,
        chooses=True, by_state=_from_state,
    ),
    elementwise(
        "gelu", f.gelu, f.gelu_derivative, (5.83, 4.98),
        turns=((-0.7517915246935645, -0.16997120747990369),),
        slopes=((-math.sqrt(2), -0.12890414519515478), (math.sqrt(2), 1.1289041451951548)),
        scale=_argument,  # 1 + erf cancels
        slope_scale=_one, of_z=True,
    ),
    elementwise(
        "silu", f.silu, f.silu_derivative, (9.15, 2.78),
        turns=((-_SILU, 1 - _SILU),),
        slopes=((-2.3993572805154677, -0.0998393201288669),
                (2.3993572805154677, 1.099839320128867)),
        slope_scale=_one_and_z, of_z=True,
    ),
    elementwise(
        "softplus", f.softplus, lambda z, h: f.sigmoid(z), (8.27, 4.12),
        slope_scale=lambda r: r.slope * _one_and_z(r),  # exp(z - h) in JAX: a rounded argument
    ),
    elementwise(
        "softsign", f.softsign, f.softsign_derivative, (2, 3.45), values=(-1, 1), slopes=((0, 1),),
        of_z=True,
        # act' is r(1 - |z|r) in JAX and PyTorch, r = 1/(1 + |z|), which cancels to r²
        slope_scale=lambda r: np.sqrt(r.slope),
    ),
    elementwise(
        "sigmoid", f.sigmoid, f.sigmoid_derivative, (8.38, 8.67), values=(0, 1),
        slopes=((0, 0.25),), slope_scale=_size,  # 1 - h cancels
        by_state=lambda most, r: r * (1 + r),  # h(1 - h)
        closed=Closed(None, lambda h: h * (1 - h), 1.0, 1.0, 8.0),
    ),
    elementwise(
        "log_sigmoid", f.log_sigmoid, lambda z, h: f.sigmoid(-z), (8.27, 4.12),
        slope_scale=lambda r: r.slope * _one_and_z(r),
    ),
    elementwise(
        "exponential", np.exp, lambda z, h: h, (6.5, 5.23), into=np.exp, by_state=_from_state
    ),
    elementwise(
        "hard_sigmoid", f.hard_sigmoid, f.hard_sigmoid_derivative, (1.34, 0.501), values=(0, 1),
        slopes=((-3, 0), (-3, 1 / 6), (3, 1 / 6), (3, 0)), blur=8, scale=_beyond_minus_4(_one),
        chooses=True,
    ),
    elementwise(
        "hard_silu", f.hard_silu, f.hard_silu_derivative, (2.2, 2.67),
        turns=((-1.5, -0.375),), slopes=((-3, 0), (-3, -0.5), (3, 1.5), (3, 1)), blur=8,
        scale=_beyond_minus_4(_argument), slope_scale=_one, chooses=True, of_z=True,
    ),
    elementwise(
        "hard_tanh", f.hard_tanh, lambda z, h: f.one_where((z >= -1) & (z <= 1), z), (0, 0),
        values=(-1, 1), slopes=((-1, 0), (-1, 1), (1, 1), (1, 0)),
        copies=True, exact_slope=True, chooses=True,
    ),
    elementwise(
        "hard_shrink", f.hard_shrink, f.beyond_half, (0, 0),
        turns=((-0.5, -0.5), (-0.5, 0), (0.5, 0), (0.5, 0.5)),
        slopes=((-0.5, 1), (-0.5, 0), (0.5, 0), (0.5, 1)), jumps=True,
        copies=True, exact_slope=True, chooses=True,
    ),
    elementwise(
        "soft_shrink", f.soft_shrink, f.beyond_half, (1.99, 0),
        slopes=((-0.5, 1), (-0.5, 0), (0.5, 0), (0.5, 1)), exact_slope=True, chooses=True,
    ),
    elementwise(
        "tanh_shrink", f.tanh_shrink, f.tanh_shrink_derivative, (4.85, 14.8),
        slopes=((0, 0),), scale=_argument, slope_scale=_one,
    ),
    elementwise(
        "squareplus", f.squareplus, f.squareplus_derivative, (3.49, 1.88),
        scale=lambda r: 1 + r.z,  # z + sqrt(z² + 4) cancels
        slope_scale=_one, squares=True,
    ),
    elementwise(
        "sparse_plus", f.sparse_plus, lambda z, h: f.sparse_sigmoid(z), (3.96, 1), chooses=True
    ),
    elementwise(
        "sparse_sigmoid", f.sparse_sigmoid, lambda z, h: f.one_where(abs(z) < 1, z) / 2, (1.98, 0),
        values=(0, 1), slopes=((-1, 0), (-1, 0.5), (1, 0.5), (1, 0)), blur=4,
        exact_slope=True, chooses=True,
    ),
    elementwise(
        "mish", f.mish, f.mish_derivative, (8.6, 13.6),
        turns=((-1.1924312145154952, -0.30884341301725043),),
        slopes=((-2.256376396360793, -0.1125261223894626),
                (1.4905711794854284, 1.0884981612517279)),
        slope_scale=_one_and_z, of_z=True,
    ),
    # Of rows: their act' follows from act (see vjp_bound). The largest that was ever found; but
    # Keras's sparsemax sums the wrong numbers on every backend, so its figure is derived: an
    # average of n numbers, and 3 roundings more.
    Activation("softmax", f.softmax, f.softmax_vjp, (1.24, 0), values=(0, 1)),
    Activation("log_softmax", f.log_softmax, f.log_softmax_vjp, (0.96, 0)),
    Activation("sparsemax", f.sparsemax, f.sparsemax_vjp, (1.5, 0), values=(0, 1), chooses=True),
)  # fmt: skip

ACTIVATIONS: dict[str, Activation] = {a.name: a for a in _ALL}
ACTIVATIONS["swish"] = ACTIVATIONS["silu"]
ACTIVATIONS["hard_swish"] = ACTIVATIONS["hard_silu"]


def activation(name: str | None) -> Activation:
    """The activation of this Keras name; None is linear, as in Keras.

    Raises ValueError that names the nearest known activation.
    """
    known = ACTIVATIONS.get("linear" if name is None else name)
    if known is None:
        raise ValueError(f"unknown activation {name!r}{nearest(str(name).lower(), ACTIVATIONS)}")
    return known
