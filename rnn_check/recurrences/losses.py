"""What should a loss and its gradient be, and how far may they be off?"""

import math
from typing import Any

import numpy as np

from rnn_check.numbers import formats
from rnn_check.numbers.activations import activation
from rnn_check.numbers.arrays import check, of_one_dtype
from rnn_check.numbers.bounded import Bounded, _given, operand
from rnn_check.numbers.formats import FLOAT64, UP, Arithmetic, Array, Bound, _upper, gamma


def mean_squared_error(target: Array, prediction: Array) -> tuple[float, Array]:
    """The mean of (prediction - target)² over all entries, as in Keras, and its gradient.

    Raises ValueError when the shapes differ: nothing is broadcast.
    """
    target, prediction = of_one_dtype(target, prediction)
    check("target", target, prediction.shape, "the prediction's")
    error = prediction - target
    return (error * error).mean().item(), error * (2 / error.size)


def categorical_cross_entropy(
    target: Array, output: Array, *, epsilon: float = 1e-7
) -> tuple[float, Array]:
    """-Σ target·log(p) over the last axis, its mean over the others, and its gradient: Keras's.

    p is the output divided by its sum, and kept epsilon away from 0 and 1, beyond which its
    gradient is 0. With epsilon = 0 it is taken as it is: a p of 0 where the target is not 0 costs
    infinity, and has no gradient (nan). Of outputs that sum to 0 there is neither.
    Raises ValueError when the shapes differ: nothing is broadcast.
    """
    target, output = of_one_dtype(target, output)
    check("target", target, output.shape, "the output's")
    rows = math.prod(target.shape[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        total = output.sum(axis=-1, keepdims=True)
        share = output / total
        below = (share.real < epsilon) & (epsilon > 0)
        above = (share.real > 1 - epsilon) & (epsilon > 0)
        kept = np.where(below, epsilon, np.where(above, 1 - epsilon, share))
        kept = np.where(target != 0, kept, 1)  # 0·log(0) is 0
        loss = -(target * np.log(kept)).sum() / rows
        of_share = np.where(below | above, 0, -target / kept / rows)
        passed = np.where(of_share != 0, of_share * share, 0).sum(axis=-1, keepdims=True)
        return loss.item(), (of_share - passed) / total


def running_loss(
    kind: str,
    target: Array,
    prediction: Array,
    prediction_error: Array | float = 0.0,
    *,
    arithmetic: Any = "float32",
    target_error: Array | float = 0.0,
    clipped: bool | None = None,
) -> tuple[float, float]:
    """The loss of the reference in float64, and how far another's may be off.

    kind "mse" or "categorical_crossentropy" (ValueError for another); target and prediction of one
    shape, off by their errors. clipped: whether a cross-entropy keeps its shares 1e-7 away from 0
    and 1, as Keras does; TensorFlow does not where it knows the logits of a softmax. None: either.

    mse: r = p - t is off by the errors and one rounding; r² by dr(2|r| + dr); N squares are summed.
    Cross-entropy: log q̂ - log q is at most -log1p(-dq/q), and inf where dq reaches q, the share of
    a prediction in their sum (see _shares).
    """
    a = formats.arithmetic(arithmetic)
    with np.errstate(all="ignore"):
        p, t = operand(prediction, prediction_error, a), _given(target, target_error, a, True)
        if kind == "mse":
            loss = mean_squared_error(t.value, p.value)[0]
            r = _residual(p, t, a)
            n = r.value.size
            terms = (r.size + r.error) ** 2
            error = (r.error * (2 * r.size + r.error)).sum() / n
        elif kind == "categorical_crossentropy":
            if clipped is None:
                return _either_loss(target, prediction, prediction_error, a, target_error)
            epsilon = _EPSILON if clipped else 0.0
            loss = categorical_cross_entropy(t.value, p.value, epsilon=epsilon)[0]
            q = _shares(p, a, epsilon)
            n = math.prod(p.value.shape[:-1])
            counts = t.size + t.error > 0
            logs = np.where(counts, abs(np.log(q.value)), 0)
            off = -np.log1p(-np.minimum(q.error / q.value, 1))
            # of what counts; but 0·log(0) is NaN, unless it comes from logits
            off = np.where(counts | (clipped & ~(q.error < q.value)), off, 0)
            off = off + activation("log_softmax").c * (a.u_stored + FLOAT64.u) * (logs + off)
            error = (t.error * (logs + off) + t.size * off).sum() / n
            terms = (t.size + t.error) * (logs + off)
        else:
            raise ValueError(f"unknown loss {kind!r}: known are {', '.join(_LOSSES)}")
        count = p.value.size + 4
        total = terms.sum() / n
        error = error + (gamma(count, a.u_stored) + gamma(count, FLOAT64.u)) * total
        error = error + 2 * count * a.min_normal
        known = np.isfinite(loss) and terms.sum() <= a.max
        return loss, float(_upper(np.asarray(error if known else np.inf)))


_LOSSES = ("mse", "categorical_crossentropy")
_EPSILON = 1e-7  # keras.config.epsilon()


def _either_loss(
    target: Array,
    prediction: Array,
    prediction_error: Array | float,
    a: Arithmetic,
    target_error: Array | float,
) -> tuple[float, float]:
    """The clipped cross-entropy, and a bound for the one that is not clipped as well."""
    both = [
        running_loss(
            "categorical_crossentropy", target, prediction, prediction_error, arithmetic=a,
            target_error=target_error, clipped=clipped,
        )
        for clipped in (True, False)
    ]  # fmt: skip
    (loss, bound), (other, its) = both
    apart = abs(other - loss) + its
    return loss, float(np.nan_to_num(max(bound, apart), nan=np.inf, posinf=np.inf))


def running_loss_gradient(
    kind: str,
    target: Array,
    prediction: Array,
    prediction_error: Array | float = 0.0,
    *,
    arithmetic: Any = "float32",
    target_error: Array | float = 0.0,
    clipped: bool | None = None,
) -> tuple[Array, Bound]:
    """dL/dprediction of the reference in float64, and how far another's may be off.

    mse: 2r/N. Cross-entropy of N rows: g = -t/q/N, 0 where q is clipped, and through the division
    by the sum S of the predictions (g - Σ g·p)/S, where 1/q̂ - 1/q <= dq/(q(q - dq)). Where clipping
    is in doubt, g may be 0; and if `clipped` is None, nothing is said of a row where it is active.
    Arguments as running_loss.
    """
    a = formats.arithmetic(arithmetic)
    with np.errstate(all="ignore"):
        o, t = operand(prediction, prediction_error, a), _given(target, target_error, a, True)
        if kind == "mse":
            gradient = mean_squared_error(t.value, o.value)[1]
            r = _residual(o, t, a)
            n = r.value.size
            error, most = 2 * r.error / n, 2 * (r.size + r.error) / n
        elif kind == "categorical_crossentropy":
            epsilon = 0.0 if clipped is False else _EPSILON
            gradient = categorical_cross_entropy(t.value, o.value, epsilon=epsilon)[1]
            n = math.prod(o.value.shape[:-1])
            p, q = _shares(o, a, 0.0), _shares(o, a, epsilon)
            counts = t.size + t.error > 0
            least = np.maximum(q.value - q.error, 0)
            largest = np.where(counts, (t.size + t.error) / least / n, 0)
            off = (t.error / least + t.size * q.error / (q.value * least)) / n
            low, high = p.value - p.error, p.value + p.error
            edge = 2 * a.u_stored
            certain = (low > epsilon * (1 + edge)) & (high < 1 - epsilon - edge)
            cut = (high < epsilon * (1 - edge)) | (low > 1 - epsilon + edge)
            if clipped is False:
                certain = np.ones_like(cut)
            off = np.where(counts, np.where(certain, off, largest), 0)
            if clipped is None:
                off = np.where(counts & ~certain, np.inf, off)
            else:
                off = np.where(cut & ~certain, 0, off)
                largest = np.where(cut & ~certain, 0, largest)
            of_shares = abs(p.value) + p.error
            brought = np.where(largest > 0, off * of_shares + largest * p.error, 0)
            passed = (largest * of_shares).sum(-1, keepdims=True)
            total, total_error = _total(o, a)
            smallest = abs(total) - total_error
            most = (largest + passed) / smallest
            error = (off + brought.sum(-1, keepdims=True)) / smallest
            error = error + most * total_error / abs(total)
            sums = o.value.shape[-1] + 4
            error = error + (gamma(sums, a.u_stored) + gamma(sums, FLOAT64.u)) * most
            error = np.where(smallest > 0, error + 2 * sums * a.min_normal, np.inf)
        else:
            raise ValueError(f"unknown loss {kind!r}: known are {', '.join(_LOSSES)}")
        error = error + (gamma(5, a.u_stored) + gamma(5, FLOAT64.u)) * most + 2 * a.min_normal
        known = (most <= a.max) & np.isfinite(gradient)
        return np.nan_to_num(gradient), _upper(np.where(known, error, np.inf))


def _residual(p: Bounded, t: Bounded, a: Arithmetic) -> Bounded:
    """Their difference as the subject computes it."""
    r = p.value - t.value
    brought = p.error + t.error
    rounding = (a.u_stored + FLOAT64.u) * (abs(r) + brought) * (brought + abs(r) > 0)
    return Bounded(r, brought + rounding, a)


def _total(o: Bounded, a: Arithmetic) -> tuple[Array, Array]:
    """Σ o over the last axis, which stays, and how far the subject's may be off."""
    n = o.value.shape[-1]
    size = (o.size + o.error).sum(-1, keepdims=True)
    error = o.error.sum(-1, keepdims=True) + (gamma(n, a.u_stored) + gamma(n, FLOAT64.u)) * size
    error = error * UP + n * a.min_normal
    return o.value.sum(-1, keepdims=True), np.where(size > a.max, np.inf, error)


def _shares(o: Bounded, a: Arithmetic, epsilon: float) -> Bounded:
    """o/Σo, kept epsilon away from 0 and 1 if that is not 0, and how far the subject's may be off.

    |ô/Ŝ - o/S| <= (do + |o/S| dS)/(|S| - dS), and one rounding. Clipping brings numbers no further
    apart, but its limits are rounded too; where an epsilon is subnormal it may count as 0.
    """
    total, total_error = _total(o, a)
    share = o.value / total
    least = abs(total) - total_error
    error = (o.error + abs(share) * total_error) / least
    error = error + (a.u_stored + FLOAT64.u) * (abs(share) + error) + a.min_normal
    error = np.where(least > 0, error * UP, np.inf)
    if not epsilon:
        return Bounded(share, error, a)
    ends = (share - error, share, share + error)
    low, kept, high = (np.clip(end, epsilon, 1 - epsilon) for end in ends)
    limit = epsilon if epsilon < a.min_normal else a.u_stored * epsilon
    off = np.maximum(high - kept, kept - low)
    off = off + np.where(share - error < epsilon + limit, limit, 0)
    off = off + np.where(share + error > 1 - epsilon - a.u_stored, a.u_stored, 0)
    return Bounded(kept, np.where(np.isfinite(error), off, np.inf), a)
