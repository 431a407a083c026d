"""Does every step follow from the one before, as far as random sums of units can tell?

`certify` multiplies matrices, as the layer did. After Freivalds (Probabilistic machines can use
less running time, IFIP Congress 1977) the columns are added up with random signs, in a few groups,
so that what is left to multiply is a narrow matrix, at a fraction of the price. What the sums make
suspect is put to `certify`, which alone says that something is wrong.

    B batch, T timesteps, F features, H units, G groups of n units or fewer      S steps asked
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z (B,T,H)

The derivation is in docs/method.md.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from rnn_check.certificates import steps as certificates_steps
from rnn_check.certificates.layer import Layer, copies_of
from rnn_check.certificates.pieces import Largest, Piece
from rnn_check.certificates.projections import Projection, Sums
from rnn_check.certificates.result import Certificate, advised, judge
from rnn_check.numbers.formats import Array


def certified(layer: Layer, groups: int, steps: int | None, seed: int | None) -> Certificate:
    """The question of `certify`, asked of random sums. See `public.certify_projected`."""
    if layer.name not in ("linear", "tanh"):
        raise ValueError(f"activation {layer.name!r} is not to be projected: linear and tanh are")
    if groups < 1:
        raise ValueError(f"groups is {groups}, but should be 1 at least")
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}, but should be 1 at least")
    if not layer.h.size:
        return judge(layer.a, layer.h, lambda worst: iter(()))
    with np.errstate(all="ignore"):
        return advised(_Asked(layer, groups, steps, seed).judged(), layer.dtype, layer.h)


_IN_FULL = 32  # steps that are put to certify in any case, and of suspicious ones at first
_UNJUDGED = 0.1  # above this share of the steps, nothing is proved
_BLIND = 0.01  # of what act can reach; see certificate


class _Asked(Projection):
    """What is said of the sums."""

    def judged(self) -> Certificate:
        layer, asked = self.layer, self.asked
        if layer.mask is not None:
            copied = self.copies()
            if copied.ratio > 1 or not len(asked):
                return copied
        some = asked
        if len(asked) > _IN_FULL:
            some = np.sort(self.rng.choice(asked, _IN_FULL, replace=False, shuffle=False))
        found = self.in_full(some)
        if found.ok is False or len(some) == len(asked):
            return found
        sums = self.sums()
        if sums is None:
            return self.in_full(asked)
        bound = self.bound(sums)
        blind = bound > _BLIND * sums.reach
        if np.count_nonzero(blind) * 10 > blind.size:
            return self.in_full(asked)
        off = np.abs(sums.observed - sums.expected)
        ratios = np.where(off == 0, 0.0, off / bound)
        worst = ratios.max(axis=1)
        worst[sums.alone | np.isnan(worst) | ~np.isfinite(bound).all(axis=1)] = np.inf
        suspects = np.flatnonzero(worst > 1)
        suspects = suspects[np.argsort(-worst[suspects], kind="stable")]
        unjudged = 0.0  # steps
        for these in (suspects[:_IN_FULL], suspects[_IN_FULL:]):
            if len(these):
                closer = self.in_full(asked[these])
                if closer.ok is False:
                    return closer
                unjudged += len(these) * (1 - closer.judged)
        cleared = ~(ratios <= 1)
        bound[cleared] = np.where(np.isfinite(off), self.worst_case(sums), np.inf)[cleared]
        return self.concluded(found, sums, bound, unjudged / len(asked))

    def concluded(
        self, found: Certificate, sums: Sums, bound: Array, unjudged: float
    ) -> Certificate:
        """found is certify's answer at some of the steps; unjudged, a share of all of them."""
        observed, expected = sums.observed, sums.expected
        whole = judge(self.a, observed, lambda worst: iter([Piece((), expected, bound)]))
        where = self.place(whole.where)
        ok, reason = found.ok, found.reason
        if ok and unjudged > _UNJUDGED:
            ok, reason = None, f"not proved: {unjudged:.0%} of the states asked have no bound"
        elif ok:
            reason = (
                f"every sum of units at {len(observed):,} steps, and every unit at {_IN_FULL} of "
                "them, follows up to the rounding of its own step"
            )
            if unjudged:
                reason += f", but for {unjudged:.1%} of the states, which have no bound"
            reason += found.aside
        blind = np.count_nonzero(bound > _BLIND * sums.reach) / bound.size
        return replace(
            whole, ok=ok, largest=Largest(whole.ratio, where), judged=1 - unjudged, _blind=blind,
            _bits=found._bits, _consistent=found._consistent, reason=reason,
        )  # fmt: skip

    def place(self, where: tuple[int, ...]) -> tuple[int, ...]:
        """(sample, timestep, ...) from (number among those asked, ...)."""
        if not where:
            return where
        step = np.unravel_index(self.asked[where[0]], self.layer.h.shape[:2])
        return (*map(int, step), *where[1:])

    def in_full(self, steps: Array) -> Certificate:
        """certify's answer at these steps alone: layers of one step, from the states before it."""
        layer = self.layer
        s, t = np.divmod(steps, layer.h.shape[1])
        found = certificates_steps.certified(layer.alone(*self.rows(steps)))

        def moved(where: tuple[int, ...]) -> tuple[int, ...]:
            return (int(s[where[0]]), int(t[where[0]]), where[2]) if where else where

        reason = found.reason
        if found.largest.search is None:
            reason = reason.replace(f"at {found.where}", f"at {moved(found.where)}")
        return replace(found, largest=found.largest.moved(moved), reason=reason)

    def copies(self) -> Certificate:
        """Of masked steps, all of them: what `certify` says of those alone."""
        layer, mask = self.layer, self.layer.mask
        assert mask is not None

        def pieces(worst: Any) -> Iterator[Piece]:
            for place in layer.blocks():
                skipped = ~mask[place][:, :, None]
                shown = layer.h[place].astype(np.float64)
                expected = np.where(skipped, copies_of(layer, *place, shown), shown)
                yield Piece(place, expected, np.where(skipped, 0.0, np.inf) + 0 * expected)

        return judge(self.a, layer.h, pieces)
