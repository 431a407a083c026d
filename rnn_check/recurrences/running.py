"""How far may the states and gradients of a whole sequence be off, when only its end is seen?

A running error analysis (Higham, section 3.3), for vectors: errors grow from step to step.

    B batch, T timesteps, F features, H units
    E (B,T,H)   how far a state may be from the reference's     D (B,T,H) the same for z
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import formats
from rnn_check.numbers.bounded import _evaluated, _given, _Known, _known, _sum_error, vjp_bound
from rnn_check.numbers.formats import Arithmetic, Array, Bound
from rnn_check.recurrences import over_time
from rnn_check.recurrences.over_time import Gradients

# The recurrence -------------------------------------------------------------------------------


class Running(NamedTuple):
    """The reference in float64, and componentwise bounds on |subject - reference|."""

    states: Array  # (B,T,H) in processing order
    bound: Bound  # (B,T,H)
    carried: Bound  # (B,T,H) of the states as the next step takes them: rounded by hand, if at all
    z: Array  # (B,T,H)
    z_bound: Bound  # (B,T,H)


_INPUTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")


class _Run:
    """A forward pass of the reference, with the error of every operand beside it.

    E_t <= spread(z_t, D_t) + activation_error + the reference's own, where D_t is the error of the
    sum z_t = x_t·W + h_{t-1}·U + b, to which E_{t-1} contributes |U| E_{t-1}: a running error
    analysis (Higham, section 3.3), for vectors.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array | None],
        a: Arithmetic,
        errors: Mapping[str, Array] | None,
        round_inputs: bool,
        by_hand: "ByHand",
        **options: Any,
    ) -> None:
        errors = {} if errors is None else errors
        if unknown := [name for name in errors if name not in _INPUTS]:
            raise ValueError(f"errors of {unknown[0]!r}: known are {', '.join(_INPUTS)}")
        values = {k: None if v is None else np.asarray(v, np.float64) for k, v in arrays.items()}
        cache: over_time.Cache = over_time.forward(**values, **options)[1]  # type: ignore[arg-type]
        (T, B, F), H = cache.x.shape, cache.h.shape[-1]
        absent = {"bias": (H,), "initial_state": (B, H)}
        given = {
            k: _given(np.zeros(absent[k]) if v is None else v, errors.get(k, 0.0), a, round_inputs)
            for k, v in values.items()
        }
        self.cache, self.a, self.name = cache, a, cache.activation.name
        x = given["x"].each(lambda part: part[:, ::-1] if cache.go_backwards else part)
        self.x = x.each(lambda part: part.swapaxes(0, 1))  # (T,B,F), time-major as cache and below
        self.kernel, self.recurrent_kernel = given["kernel"], given["recurrent_kernel"]
        self.z = np.tensordot(cache.x, cache.kernel, 1)  # (T,B,H)
        self.z += np.tensordot(cache.h[:-1], cache.recurrent_kernel, 1) + given["bias"].value
        self.act = cache.activation.function(self.z)  # (T,B,H) is h, but where a masked step copies
        self.rounded, self.z_rounded = (_steps_first(part, self.z.shape) for part in by_hand)
        self.E = np.empty_like(cache.h)  # (T+1,B,H) the initial state first, each as it is carried
        self.D = np.empty_like(self.z)  # (T,B,H)
        self.computed = np.empty_like(self.z)  # (T,B,H) E before the state is rounded by hand
        self.E[0] = given["initial_state"].error
        for t in range(T):
            products = ((self.x.at(t), self.kernel), (self.h(t), self.recurrent_kernel))
            self.D[t] = _sum_error(a, products, (given["bias"],), k=F + H + 2, stored=3)
            E = _evaluated(self.name, self.z[t], self.act[t], self.argument(t), a)
            self.computed[t] = E if cache.skip is None else np.where(cache.skip[t], self.E[t], E)
            self.E[t + 1] = self.computed[t] + self.rounded[t]

    def argument(self, t: int) -> Array:
        """How far z_t may be off when act is taken of it: (B,H)."""
        return np.asarray(self.D[t] + self.z_rounded[t])

    def h(self, t: int) -> _Known:
        """The state before step t, as the operand it is there: (B,H)."""
        return _known(self.cache.h[t], self.E[t], self.a)


class ByHand(NamedTuple):
    """Half units of the last digit to which somebody who computes by hand rounds what is carried.

    Both (B,T,H), in processing order, or 0 where nothing is rounded.
    """

    states: Array | float = 0.0  # before the next step, or whatever else is made of them
    z: Array | float = 0.0  # before act is taken


_NOT_BY_HAND = ByHand()


def _steps_first(part: Array | float, shape: tuple[int, ...]) -> Array:
    part = np.asarray(part, np.float64)
    return np.broadcast_to(part.swapaxes(0, 1) if part.ndim else part, shape)


def running_bound(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = _NOT_BY_HAND,
) -> Running:
    """The states of over_time.forward in float64, and how far another's computation may be off.

    Arguments as over_time.forward; and arithmetic, what the other computes in (see `arithmetic`);
    errors, how far the true inputs may be from those given (half units of what was printed; keys
    x, kernel, recurrent_kernel, bias, initial_state); round_inputs, whether inputs that the
    arithmetic cannot represent are rounded to it first; by_hand, to what is rounded by hand.
    Linear in T·H²: no certificate, but all there is for those who see the last state only.

    Raises ValueError as over_time.forward and `arithmetic`, and for unknown keys of errors.
    """
    arrays = dict(zip(_INPUTS, (x, kernel, recurrent_kernel, bias, initial_state), strict=True))
    options = {"activation": activation, "mask": mask, "go_backwards": go_backwards}
    with np.errstate(all="ignore"):
        run = _Run(arrays, formats.arithmetic(arithmetic), errors, round_inputs, by_hand, **options)
    parts = (run.cache.h[1:], run.computed, run.E[1:], run.z, run.D)
    return Running(*(part.swapaxes(0, 1) for part in parts))


def running_gradients(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    cotangent: Array,
    cotangent_error: Array | None = None,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = _NOT_BY_HAND,
) -> tuple[Gradients, Gradients]:
    """The gradients of over_time.backward in float64, and how far another's may be off.

    cotangent (B,T,H) is dL/dh in processing order, known to within cotangent_error, and rounded to
    the arithmetic if it is exactly known and round_inputs; the rest as running_bound.

    The recurrence of δ is analysed like that of h, backwards: g_t = c_t + δ_{t+1}·Uᵀ is a sum with
    the error of δ_{t+1}, δ_t comes from it by vjp_bound with the D_t of the forward pass, and the
    gradients of weights are sums over B·T products. A masked step passes g_t on; there frameworks
    may add up cotangents in another order, so the sizes of all that were added are carried along.
    """
    arrays = dict(zip(_INPUTS, (x, kernel, recurrent_kernel, bias, initial_state), strict=True))
    options = {"activation": activation, "mask": mask, "go_backwards": go_backwards}
    a = formats.arithmetic(arithmetic)
    with np.errstate(all="ignore"):
        run = _Run(arrays, a, errors, round_inputs, by_hand, **options)
        cache, U = run.cache, run.recurrent_kernel
        (T, B, H), F = run.z.shape, cache.x.shape[-1]
        wanted = _given(
            cotangent,
            0.0 if cotangent_error is None else cotangent_error,
            a,
            round_inputs and cotangent_error is None,
        )
        gradients = over_time.backward(wanted.value, cache)
        c = wanted.each(lambda part: part.swapaxes(0, 1))  # (T,B,H)
        delta = gradients.delta.swapaxes(0, 1)  # (T,B,H)
        error = np.empty_like(delta)
        later = _known(np.zeros((B, H)), 0.0, a)
        for t in reversed(range(T)):
            now = c.at(t)
            passed = _sum_error(a, (), (now, later), k=2, stored=2)
            g = _known(now.value + later.value, passed, a, now.size + later.size)
            _, error[t] = vjp_bound(
                run.name, g.value, g.error, run.z[t], run.act[t], run.argument(t), a,
                run.rounded[t],
            )  # fmt: skip
            if cache.skip is not None:
                error[t] = np.where(cache.skip[t], 0.0, error[t])
            d = _known(delta[t], error[t], a)
            product = d.value @ U.T.value
            later = _known(product, _sum_error(a, ((d, U.T),), k=H + 1), a)
            if cache.skip is not None:
                skip = cache.skip[t]
                parts = zip(
                    (g.value, g.error, g.size), (later.value, later.error, later.size), strict=True
                )
                later = _Known(*(np.where(skip, *pair) for pair in parts))
        d = _known(delta, error, a).rows
        steps = {"k": B * T + 1, "stored": T + 1}  # summed over the batch, then step by step
        h = _known(cache.h[:-1], run.E[:-1], a).rows
        ones = _known(np.ones((1, B * T)), 0.0, a)
        dx = _sum_error(a, ((d, run.kernel.T),), k=H + 1).reshape(T, B, F).swapaxes(0, 1)
        return gradients, Gradients(
            x=dx[:, ::-1] if cache.go_backwards else dx,
            kernel=_sum_error(a, ((run.x.rows.T, d),), **steps),
            recurrent_kernel=_sum_error(a, ((h.T, d),), **steps),
            # biases are not summed by a matrix product, so nothing wider is promised
            bias=_sum_error(a, ((ones, d),), k=B * T + 1, stored=B * T + 1)[0],
            initial_state=later.error,
            delta=error.swapaxes(0, 1),
        )
