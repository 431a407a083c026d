"""What does a batch change, when the optimizer's own step is not all?

    accumulated   of k batches the last makes an update, of g = (a + g)/k, the others a' = a + g
    clipped       by value: g = min(max(g, -c), c)
                  by norm: g = g c/max(‖g‖, c), ‖g‖ of each weight array, or of all together
    decayed       w = w - ληw, of every weight array, biases among them, before the step
    stepped       w' = step(w, g), the optimizer's own: see `optimizers`
    constrained   see `penalties`; after every batch
    averaged      a' = βa + (1-β)w', w' after each batch; until the first update, and by it, a' = w'
                  every f updates then w' = a', and constrained again

in this order. Keras constrains weights last, so that it averages what is not constrained: a
deviation. The states "accumulated" and "average" are carried of each weight
array like the optimizer's own, and start at 0. An update takes the learning rate that belongs to
the number of batches before it, but its t counts updates. At the end of a training of averages the
weights become these (`ends_with`).

`updated` reads this as bounds: of all updates at once, each from what was recorded before it, and
with what was recorded after it where one thing follows from another of the same update; or of one
update, from bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import UP, Array, gamma_of_both
from rnn_check.recurrences.optimizers import Optimizer, Update
from rnn_check.recurrences.penalties import Constraint
from rnn_check.recurrences.rounding import added, mean

Sets = Mapping[str, Bounded]  # by weight, each (N,...)


class Updated(NamedTuple):
    """weights and states after each batch; gradients as a step takes them."""

    weights: dict[str, Bounded]
    states: dict[str, dict[str, Bounded]]
    gradients: dict[str, Bounded]


def carried(optimizer: Optimizer) -> tuple[str, ...]:
    """All that is carried of each weight from batch to batch."""
    more = ["accumulated"] * bool(optimizer.gradient_accumulation_steps)
    return (*optimizer.states, *more, *["average"] * optimizer.use_ema)


def iterations(optimizer: Optimizer, batches: Any) -> Any:
    """How many updates there were after so many batches."""
    return batches // (optimizer.gradient_accumulation_steps or 1)


def overwrites(optimizer: Optimizer, n: Array) -> Array:
    """Whether the weights become their averages after n batches and one more."""
    every = optimizer.ema_overwrite_frequency if optimizer.use_ema else None
    before = iterations(optimizer, np.asarray(n))
    return np.zeros(np.shape(n), bool) if every is None else (before + 1) % every == 0


def ends_with(optimizer: Optimizer) -> str:
    """What the weights are when fit returns: what they were after the last batch, or a state."""
    return "average" if optimizer.use_ema else "weights"


def updated(
    optimizer: Optimizer,
    w: Sets,
    old: Mapping[str, Sets],
    g: Sets,
    n: Array,
    seen: Mapping[str, Sets] | None = None,
    constraints: Mapping[str, Constraint] = MappingProxyType({}),
) -> Updated:
    """What weights and states become.

    old: the states before, by state and weight. n (N,): how many batches there were before each.
    seen: the optimizer's own states as they were recorded afterwards, which the weights follow
    from; if they are not given, from what the states should be.
    """
    k = optimizer.gradient_accumulation_steps or 1
    due = np.asarray(n % k == k - 1)
    taken = dict(g)
    sums: dict[str, Bounded] = {}
    if k > 1:
        sums = {name: added(old["accumulated"][name], part) for name, part in g.items()}
        taken = {name: _shared(total, k) for name, total in sums.items()}
    taken = _clipped(optimizer, taken)
    weights: dict[str, Bounded] = {}
    states: dict[str, dict[str, Bounded]] = {state: {} for state in carried(optimizer)}
    for name, start in w.items():
        at = np.asarray(n, np.float64).reshape(-1, *(1,) * (start.value.ndim - 1))
        now = due.reshape(at.shape)
        eta, t = optimizer.rate(at, start.a), np.floor_divide(at, k) + 1
        own = {state: old[state][name] for state in optimizer.states}
        moved = optimizer.moved(own, taken[name], eta)
        new = moved if seen is None else {state: seen[state][name] for state in own}
        down = _decayed(optimizer, start, eta)
        stepped = optimizer.stepped(Update(down, own, new, taken[name], t, eta))
        by = constraints.get(name)
        weights[name] = kept = _constrained(by, _chosen(now, stepped, start))
        for state, each in moved.items():
            states[state][name] = _chosen(now, each, own[state])
        if k > 1:
            zero = Bounded(np.zeros_like(start.value), np.zeros_like(start.value), start.a)
            states["accumulated"][name] = _chosen(now, zero, sums[name])
        if optimizer.use_ema:
            over = overwrites(optimizer, at)
            average = mean(old["average"][name], kept, optimizer.ema_momentum)
            average = _chosen(iterations(optimizer, at) == 0, kept, average)
            states["average"][name] = average
            weights[name] = _chosen(over, _constrained(by, average), kept)
    return Updated(weights, states, taken)


def _constrained(by: Constraint | None, w: Bounded) -> Bounded:
    return w if by is None else by.applied(w)


def _chosen(where: Array, one: Bounded, other: Bounded) -> Bounded:
    value, error = (
        np.where(where, getattr(one, part), getattr(other, part)) for part in ("value", "error")
    )
    return Bounded(value, error, one.a)


def _shared(total: Bounded, k: int) -> Bounded:
    error = total.error / k + gamma_of_both(3, total.a) * total.most / k
    return Bounded(total.value / k, error * UP + 4 * total.a.min_normal, total.a)


def _decayed(optimizer: Optimizer, w: Bounded, eta: Bounded) -> Bounded:
    """w - wλη, or w(1 - λη): five roundings of wλη, two of their constants among them, and two of
    the difference."""
    rate, a = optimizer.weight_decay, w.a
    if not rate:
        return w
    value = w.value * (1 - rate * eta.value)
    most = rate * eta.most * w.most
    error = w.error * (1 + rate * eta.most) + rate * eta.error * w.most
    error = error + gamma_of_both(5, a) * most + gamma_of_both(2, a) * (w.most + most)
    return Bounded(value, error * UP + 8 * a.min_normal, a)


# -- clipping --------------------------------------------------------------------------------------


def _clipped(optimizer: Optimizer, g: dict[str, Bounded]) -> dict[str, Bounded]:
    if (most := optimizer.clipvalue) is not None:
        return {name: _within(part, most) for name, part in g.items()}
    if (most := optimizer.clipnorm) is not None:
        return {name: _scaled(part, _square_norm([part]), most) for name, part in g.items()}
    if (most := optimizer.global_clipnorm) is not None:
        square = _square_norm(list(g.values()))
        return {name: _scaled(part, square, most) for name, part in g.items()}
    return g


def _within(g: Bounded, most: float) -> Bounded:
    """It is nowhere steeper than the identity; the limit is rounded once."""
    value = np.clip(g.value, -most, most)
    reached = np.abs(g.value) + g.error > most * (1 - 2 * g.a.u_stored)
    # what is clipped for sure is the limit, whatever the gradient
    sure = np.abs(g.value) - g.error > most * (1 + 2 * g.a.u_stored)
    error = np.where(sure, 0.0, g.error) + np.where(reached, gamma_of_both(1, g.a) * most, 0.0)
    return Bounded(value, error * UP, g.a)


def _square_norm(parts: list[Bounded]) -> Bounded:
    """(N,) Σg² of all arrays together: sums in any order; a square may be flushed to zero."""
    a, rows = parts[0].a, len(parts[0].value)
    size = sum(part.value.size // max(rows, 1) for part in parts)
    value, error, most = np.zeros((3, rows))
    for part in parts:
        v, e, m = (np.reshape(p, (rows, -1)) for p in (part.value, part.error, part.most))
        value, most = value + (v * v).sum(axis=1), most + (m * m).sum(axis=1)
        error = error + (e * (2 * np.abs(v) + e)).sum(axis=1)
    error = error + gamma_of_both(size + len(parts) + 1, a) * most + 4 * size * a.min_normal
    # where a sum of squares overflows, nothing is known of what it divides
    error = np.where(most * (1 + a.u_stored * size) > a.max, np.inf, error)
    return Bounded(value, error * UP, a)


def _scaled(g: Bounded, square: Bounded, most: float) -> Bounded:
    """g times min(1, c/‖g‖): the scale is between those of the least norm and of the largest.

    In any form of it (gc/max(‖g‖, c), g·c·min(1/‖g‖, 1/c)) a root, two quotients, three products
    and c twice, two units in the last place of a root or a quotient; rounded where nothing is
    clipped as well. Of a norm that overflows one form makes 0, another NaN.
    """
    a = g.a
    low, high = (np.sqrt(np.maximum(square.value + sign * square.error, 0)) for sign in (-1, 1))
    shape = (-1, *(1,) * (g.value.ndim - 1))
    at_most, at_least = (np.reshape(most / np.maximum(norm, most), shape) for norm in (low, high))
    scale = np.reshape(most / np.maximum(np.sqrt(square.value), most), shape)
    off = np.maximum(at_most - scale, scale - at_least)
    error = at_most * g.error + off * g.size + gamma_of_both(11, a) * at_most * g.most
    error = error * UP + 4 * a.min_normal * (1 + 1 / most + g.most)
    known = np.reshape(np.isfinite(square.error), shape) & (g.most * most < a.max)
    known = known & (a.min_normal < most < a.max)
    return Bounded(g.value * scale, np.where(known, error, np.inf), a)
