"""What is the loss of a batch, where samples weigh and steps are masked, and what of an epoch?

    L = Σ s m r² / (O Σ m)     r = prediction - target, of B samples or of their T steps, O outputs
                               s: the weight of a sample, or of each of its steps; 1 if not given
                               m: whether the mask keeps the step; 1 where there is none

as Keras has it: the loss is divided by how many samples (or steps) there are, whatever they weigh,
and by how many of them the mask keeps; where it keeps none, it is 0. An epoch's loss is the mean of
its batches', by samples, whatever these weigh.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnn_check.numbers.bounded import Bounded, _given, exactly
from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array, _upper, gamma
from rnn_check.numbers.reading import Node
from rnn_check.recurrences.network import Network

_FLOAT64 = ARITHMETICS["float64"]
_UP = 1 + 2.0**-40  # covers the rounding of a bound's own few operations


def shares(network: Network, batch: slice, a: Arithmetic) -> Bounded:
    """s·m/Σm of each sample (B,), or of each of its steps (B,T)."""
    kept = np.ones(network.target[batch].shape[:-1], bool)
    if network.mask is not None and network.is_sequence:
        kept = network.mask[batch]
    weight = exactly(np.ones(kept.shape), a)
    if network.sample_weight is not None:
        error = np.broadcast_to(network.weight_error, network.sample_weight.shape)
        weight = _given(network.sample_weight[batch], error[batch], a, True)
        if weight.value.ndim < kept.ndim:
            weight = weight.each(lambda part: part[:, None])
    count = max(int(kept.sum()), 1)
    value, error = (np.where(kept, part, 0.0) / count for part in (weight.value, weight.error))
    return Bounded(value, error, a)


def loss_of(network: Network, outputs: Sequence[Node], batch: slice) -> Bounded:
    """(N,1), of outputs (N,B,O) of each step or of the last; its gradient, scaled, is received by
    them.

    Keras multiplies what it divides by Σm by B·T first, and each square by s. What does not count
    is multiplied by 0.
    """
    a = outputs[0].b.a
    target = _given(network.target[batch], 0.0, a, True)
    share = shares(network, batch, a)
    n, weighs = target.value.size, network.sample_weight is not None or network.mask is not None
    more = 6 * weighs
    rounding = gamma(n + 8 + more, a.u_stored + _FLOAT64.u)
    value: Array = np.zeros(())
    error: Array = np.zeros(())
    largest: Array = np.zeros(())  # of what is summed before it is divided
    for t, output in enumerate(outputs):
        at = (slice(None), t) if network.is_sequence else (slice(None),)
        of = target.each(lambda part: part[at])  # noqa: B023
        k = share.each(lambda part: part[at][:, None])  # noqa: B023
        p = output.b.known
        O = of.value.shape[-1]  # noqa: E741
        kv, ke = k.value / O, k.error / O
        most = np.abs(kv) + ke
        off = p.value - of.value
        off_error = p.error + of.error
        off_error = off_error + gamma(1, a.u_stored + _FLOAT64.u) * (np.abs(off) + off_error)
        size = np.abs(off) + off_error
        counts = most > 0
        # fit's loss is a mean of means: the batch's is weighted by B, summed, divided by B again
        each = most * off_error * (2 * np.abs(off) + off_error) + (ke + rounding * most) * size**2
        each = each + 4 * a.min_normal * (1 + most + weighs * size**2)
        scaled = network.scale * most
        pull = 2 * (scaled * off_error + network.scale * ke * np.abs(off)) * _UP
        pull = pull + gamma(5 + more, a.u_stored + _FLOAT64.u) * 2 * scaled * size
        pull = pull + 2 * a.min_normal * (1 + weighs * (size + scaled))
        nothing = np.where(np.isfinite(size), 0.0, np.inf)
        each, pull = (np.where(counts, part, nothing) for part in (each, pull))
        largest = largest + ((1 + n * most) * size**2).sum(axis=(1, 2))
        pull = np.where(n * (1 + scaled) * size > a.max, np.inf, pull)
        value = value + np.where(counts, kv * off * off, 0.0).sum(axis=(1, 2))
        error = error + each.sum(axis=(1, 2))
        to_output = np.where(counts, 2 * network.scale * kv * off, 0.0)
        output.receive(Bounded(to_output, _upper(pull), a))
    error = np.where(largest > a.max, np.inf, error + 32 * a.min_normal)
    return Bounded(value[:, None], _upper(error[:, None] * _UP), a)


def loss_of_epochs(network: Network, each: Bounded) -> Bounded:
    """(E,1) from that of each update (N,1): `fit`'s running mean, weighted by the samples."""
    sizes = np.array([batch.stop - batch.start for batch in network.batches], np.float64)
    K, a = len(sizes), each.a
    if K == 1:
        return each
    share = sizes / sizes.sum()
    value, error = (part.reshape(-1, K) @ share for part in (each.value, each.error))
    most = each.most.reshape(-1, K) @ share
    error = error + gamma(K + 2, a.u_stored + _FLOAT64.u) * most + 2 * K * a.min_normal
    error = np.where(most * sizes.sum() > a.max, np.inf, error)
    return Bounded(value[:, None], error[:, None] * _UP, a)
