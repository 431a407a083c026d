"""What does a layer drop in training?

Sizes: B samples, T timesteps, n units shown.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.expectations.bitwise import SEQUENCE, same, yes
from rnn_check.claims.expectations.case import Case, Said, Unproved
from rnn_check.claims.expectations.expectation import Holds, Path
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Gated
from rnn_check.claims.written import Array
from rnn_check.numbers import formats

# that an honest generator falls outside the bound on its rate has at most this probability
CHANCE = 2.0**-40


class Dropout(Holds, frozen=True, kw_only=True):
    """Holds: in training it drops what it says, scaled, the same at each step; needs a rate."""

    of: Literal["input", "recurrent", "timesteps"]
    masks: Literal["one for all gates", "one for each gate"] | msgspec.UnsetType = msgspec.UNSET

    layers = "any"
    needs = ()

    @property
    def rate(self) -> str:
        """The key that holds it."""
        return "recurrent_dropout" if self.of == "recurrent" else "dropout"

    def missing(self, run: Experiment) -> Iterator[str]:
        if getattr(run.layers[0], self.rate, msgspec.UNSET) is msgspec.UNSET:
            yield f"a {self.rate} rate"
        if self.masks is not msgspec.UNSET and not isinstance(run.layers[0], Gated):
            yield "a layer with gates, to say which masks they have,"
        if self.of == "timesteps" and not isinstance(run.layers[0], Gated):
            yield "a layer with gates, whose loop may be fused; say `input` of another"

    def unjudged(self, run: Experiment) -> str:
        layer = run.layers[0]
        if isinstance(layer, Gated) and not layer.letters.shown:
            return f"what dropout drops for each gate of {layer.family} is not derived"
        rate = float(getattr(run.layers[0], self.rate))
        if 0.01 <= rate <= 0.99:
            return ""
        return f"a rate of {rate:g} drops too few, or leaves too few, to tell one mask from another"

    def asks(self, run: Experiment) -> set[str]:
        return {"dropped_steps" if self.of == "timesteps" else "dropout"}

    def spoils(self, run: Experiment) -> list[Path]:
        if self.of == "timesteps":
            return [("dropped_steps", "shown"), ("dropped_steps", "inference", "shown")]
        gated = isinstance(run.layers[0], Gated)
        held = [("dropout", "held"), ("dropout", "*", "held")] if gated else []
        return [("dropout", self.of), ("dropout", "inference", self.of), *held]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """What layers that are made for it show of the mask, at each timestep.

        Of a SimpleRNN with an identity for a kernel "input" is h_t = mask/(1-p); of "recurrent" x
        is one at the first step and zero after it, and h_t = (mask/(1-p))^t, counted from 0. Of
        gates see `plans`: each mask of its own, all in one run. "timesteps": which features are
        dropped, of a layer whose activations are the default ones.
        """
        layer = case.claim.layers[0]
        if self.of == "timesteps":
            rate = float(getattr(layer, self.rate))
            yield from _dropped_alike(case.said["dropped_steps"], rate)
            return
        told = case.said["dropout"]
        rates = {
            of: float(_or(getattr(layer, of, 0), 0)) for of in ("dropout", "recurrent_dropout")
        }
        rate = rates[self.rate]
        if not isinstance(layer, Gated):
            shape = (64, 4, 64)
            powers = np.arange(4) if self.of == "recurrent" else np.ones(4)
            yield from _dropped(self.rate, told, (self.of,), shape, Drawn((rate,), powers), case)
            return
        shape, t = (128, 3, 16), np.arange(3)
        for run in (told, told["next"], told["inference"], told["again"]):
            if not run.is_none:
                carried = run["held"].shaped(shape).astype(np.float64)
                yield same("the state that is carried", carried, np.ones(shape))
        masks = {}
        letters = layer.letters
        weighs = (letters.forget, letters.update)  # the state before
        before = not layer.option("reset_after")
        for gate in letters.order:
            drawn = Drawn((rate,), t + 1 if gate in weighs else np.ones(3))
            also = rates["recurrent_dropout"]
            if gate == letters.reset and before and also:  # the product of two masks
                drawn = Drawn((rate, also), np.ones(3))
            else:
                masks[gate] = told[self.of][gate].shaped(shape)[:, 0] != 0
            what = f"{self.rate} of gate {gate}"
            yield from _dropped(what, told, (self.of, gate), shape, drawn, case)
        if self.masks is not msgspec.UNSET:
            first, *others = masks.values()
            if self.masks == "one for all gates":
                agree = all((mask == first).all() for mask in others)
            else:
                pairs = itertools.combinations(masks.values(), 2)
                agree = not any((one == other).all() for one, other in pairs)
            yield equal("subject", f"masks: {self.masks}", yes(agree), "yes")


def _or(given: Any, default: Any) -> Any:
    return default if given is msgspec.UNSET else given


@dataclass(frozen=True)
class Drawn:
    """What is shown of masks: the product of one of each of these rates, scaled, to the power (T,)
    at each timestep."""

    rates: tuple[float, ...]
    powers: Array


def _dropped(
    what: str, told: Said, way: tuple[str, ...], shape: tuple[int, ...], drawn: Drawn, case: Case
) -> Iterator[Comparison]:
    """What is shown of a mask, in training and in inference, and once more."""

    def part(said: Said) -> Array:
        for key in way:
            said = said[key]
        return said.shaped(shape)

    a, powers = formats.arithmetic(case.dtype), drawn.powers[:, None]
    first = part(told)
    shown = first.astype(np.float64)  # (B,T,n)
    still = part(told["inference"]).astype(np.float64)
    yield same("output in inference", still, np.ones_like(still))
    rate, scale = 1.0, 1.0
    for each in drawn.rates:
        scale /= 1 - each
        rate *= 1 - each
    rate = 1 - rate  # that one of them drops it
    if scale ** powers.max() > a.max / 2:
        raise Unproved(f"{what}: what is scaled by {scale:g} at each step overflows")
    kept = shown[:, np.flatnonzero(drawn.powers)[0]] != 0  # (B,n)
    expected = np.where(kept[:, None], scale**powers, powers == 0)
    bound = formats.gamma(3 * len(drawn.rates), a.u_stored) * np.abs(powers) * expected
    yield Comparison(
        "subject", f"{what}: one mask for all timesteps, scaled by {scale:g}", shown, expected,
        np.abs(shown - expected), bound, SEQUENCE, tuple(np.indices(shown.shape)),
    )  # fmt: skip
    another = bool((part(told["next"]).astype(np.float64) != shown).any())
    yield from _drawn(kept, rate, another)
    if not told["again"].is_none:
        yield same("output with the same seed", part(told["again"]), first)


def _drawn(kept: Array, rate: float, another: bool) -> Iterator[Comparison]:
    """kept: (B,n). By Hoeffding (JASA 58, 1963) the share of zeros among N independent draws is off
    by more than sqrt(log(2/CHANCE)/(2N)) with probability CHANCE at most."""
    dropped = np.asarray(1 - kept.mean())
    allowed = np.asarray(math.sqrt(math.log(2 / CHANCE) / (2 * kept.size)))
    off, share = np.abs(dropped - rate), f"share of zeros among {kept.size:,}"
    yield Comparison("subject", share, dropped, np.asarray(rate), off, allowed)
    alike = bool((kept == kept[:1]).all())
    yield equal("subject", "a mask of its own for every sample", yes(not alike), "yes")
    # that as many draws are the same by chance is less likely than CHANCE: see `unjudged`
    yield equal("subject", "another mask at the next call", yes(another), "yes")


def _dropped_alike(told: Said, rate: float) -> Iterator[Comparison]:
    """Whether the same features of a sample are dropped at each timestep: those that show a zero,
    where others show tanh of a positive number."""
    shape = (128, 4, 16)
    first, later, still = (
        said["shown"].shaped(shape) for said in (told, told["next"], told["inference"])
    )
    kept = first != 0
    within = bool(((first >= 0) & (first <= 1)).all())
    yield equal(
        "subject", "what is not dropped is a tanh of something positive", yes(within), "yes"
    )
    one = bool((kept == kept[:, :1]).all())
    yield equal("subject", "one mask for all timesteps", yes(one), "yes")
    shown = bool(((still > 0) & (still <= 1)).all())
    yield equal("subject", "nothing is dropped in inference", yes(shown), "yes")
    yield from _drawn(kept[:, 0], rate, bool(((later != 0) != kept).any()))
    if not told["again"].is_none:
        yield same("output with the same seed", told["again"]["shown"].shaped(shape), first)
