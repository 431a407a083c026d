"""What is reported of outputs: their loss, mse, mae and accuracy, over batches?

    loss       Σ B_k L_k / Σ B_k      L_k of each batch as in `batches`
    mse, mae   Σ m r² / (O Σ m), Σ m |r| / (O Σ m)     over all batches at once; no sample weighs
               in the weighted ones s·m in place of m, and 0 where nothing weighs
    accuracy   the share of what is right: of one output, whether it exceeds 1/2 as the target says
               it does; of several, whether the largest is the target's largest

as Keras has them. Where rounding may turn what is right, it is in doubt, and half of it is allowed
either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnn_check.numbers.bounded import Bounded, _given, operand
from rnn_check.numbers.formats import ARITHMETICS, Array, _upper, arithmetic, gamma

_FLOAT64, _FLOAT32 = ARITHMETICS["float64"], ARITHMETICS["float32"]

METRICS = ("mse", "mae", "accuracy")
WEIGHTED = tuple(f"weighted_{name}" for name in METRICS)


def reported(
    target: Array,
    output: Array,
    error: Array,
    *,
    mask: Array | None,
    weight: Array | None,
    batches: Sequence[slice],
    computed_in: str,
) -> Mapping[str, Bounded]:
    """loss and metrics () of outputs (S,O) or (S,T,O) that are off by `error`.

    mask (S,T): which steps count. weight (S,) or (S,T), of the loss and the weighted metrics, which
    there are if it is given. batches: those of which the losses are taken. They are kept in float32
    at least, and computed in `computed_in`.
    """
    a = arithmetic(computed_in)
    with np.errstate(all="ignore"):
        p, t = operand(output, error, a), _given(target, 0.0, a, True)
        off = p.value - t.value
        brought = p.error + t.error
        brought = brought + gamma(1, a.u_stored + _FLOAT64.u) * (np.abs(off) + brought)
        squares = Bounded(off * off, brought * (2 * np.abs(off) + brought), a)
        kept = np.ones(target.shape[:-1], bool) if mask is None else mask
        each = kept / max(int(kept.sum()), 1)
        weighs = np.ones(kept.shape)
        if weight is not None:
            weighs = weight if weight.ndim == kept.ndim else weight[:, None] * weighs
        share = np.zeros(kept.shape)
        for batch in batches:
            samples = (batch.stop - batch.start) / len(target)
            share[batch] = (kept * weighs)[batch] * (samples / max(int(kept[batch].sum()), 1))
        of_metrics = {
            "mse": squares, "mae": Bounded(np.abs(off), brought, a), "accuracy": _right(p, target)
        }  # fmt: skip
        found = {"loss": _mean(squares, share[..., None])}
        found |= {name: _mean(of, each[..., None]) for name, of in of_metrics.items()}
        if weight is not None:
            each = kept * weighs / ((kept * weighs).sum() or 1.0)
            weighted = zip(WEIGHTED, of_metrics.values(), strict=True)
            found |= {name: _mean(of, each[..., None], each.size) for name, of in weighted}
        return found


def _mean(of: Bounded, share: Array, more: int = 0) -> Bounded:
    """Σ share·of, divided by how many outputs there are: sums in any order, of batches and over
    them, what is weighed, and what is divided by and multiplied with.

    more: how many roundings of what is divided by beyond that, where it is itself a sum.
    """
    a, n, O = of.a, of.value.size, of.value.shape[-1]  # noqa: E741
    counts = share > 0
    value = np.where(counts, share * of.value, 0.0).sum() / O
    u = max(a.u_stored, _FLOAT32.u_stored) + _FLOAT64.u
    error = of.error + gamma(n + 20 + more, u) * of.most + 4 * a.min_normal * (1 + of.most)
    nothing = np.where(np.isfinite(of.most), 0.0, np.inf)
    error = np.where(counts, share * error, nothing).sum() / O
    largest = (of.most * (1 + share * n)).sum() * n
    bound = error + 8 * n * a.min_normal if largest <= min(a.max, _FLOAT32.max) else np.inf
    return Bounded(np.asarray(value), _upper(np.asarray(bound)), a)


def _right(p: Bounded, target: Array) -> Bounded:
    """(...,1) 1 where it is, 0 where not, 1/2 ± 1/2 in doubt."""
    if target.shape[-1] == 1:
        low, high = p.value - p.error > 0.5, p.value + p.error > 0.5
        each = np.stack([target == low, target == high]).astype(np.float64)
    else:
        best = target.argmax(axis=-1)[..., None]
        others = np.arange(target.shape[-1]) != best
        own = np.take_along_axis(p.value, best, -1), np.take_along_axis(p.error, best, -1)
        rest = np.where(others, p.value + p.error, -np.inf).max(axis=-1, keepdims=True)
        below = np.where(others, p.value - p.error, -np.inf).max(axis=-1, keepdims=True)
        each = np.stack([own[0] - own[1] > rest, own[0] + own[1] >= below]).astype(np.float64)
    value, error = each.mean(axis=0), np.abs(each[1] - each[0]) / 2
    return Bounded(value, error, p.a)
