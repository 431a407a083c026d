"""What weights does a layer start with, and does it keep those that it is given?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import ml_dtypes
import msgspec
import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims import tables
from rnn_check.claims.expectations.bitwise import same, yes
from rnn_check.claims.expectations.case import Case, at_least
from rnn_check.claims.expectations.dropout import CHANCE
from rnn_check.claims.expectations.expectation import INPUT, WEIGHTS, Holds, Path, Reading, Unasked
from rnn_check.claims.expectations.numbers import OfWeight
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Recurrent
from rnn_check.claims.tables import ComputedIn
from rnn_check.claims.written import Array
from rnn_check.numbers import bounded, formats
from rnn_check.refusal import any_of
from rnn_check.subjects.asked.named import FAMILIES

Weight = Literal["kernel", "recurrent_kernel", "bias"]


def is_drawn(weight: Array, most: float) -> bool:
    """Whether the entries may be draws, of which no value has a larger probability than `most`.

    That n draws have no more than d values is less likely than C(n,d)·(d·most)^(n-d): n-d of them
    have to hit one of d. Three values may be all that an orthogonal matrix of 2 by 2 has.
    """
    n, d = weight.size, len(np.unique(weight))
    return d > 2 or math.comb(n, d) * (d * most) ** (n - d) >= CHANCE


def commonest(a: formats.Arithmetic) -> float:
    """The probability of the commonest value of an initializer: at the largest, a last place wide;
    float64 may be drawn as float32."""
    return max(2 * a.u_stored, 2.0**-23)


def commonest_of(initializer: Mapping[str, Any], size: int, a: formats.Arithmetic) -> float:
    """The same of an initializer {"kind": class, its arguments} of `size` numbers.

    A last place at the center of what is drawn, and what underflows, fall on one value each: with
    a density of 1 over their spread at most. Where nothing is spread, all do.
    """

    def of(name: str, default: float) -> float:
        return float(initializer.get(name, default))

    center, spread, kind = 0.0, math.inf, initializer["kind"]
    if kind in ("RandomNormal", "TruncatedNormal"):
        center, spread = of("mean", 0), of("stddev", 0.05)
    elif kind == "RandomUniform":
        low, high = of("minval", -0.05), of("maxval", 0.05)
        center, spread = max(abs(low), abs(high)), high - low
    elif kind == "Orthogonal":
        spread = of("gain", 1)
    elif kind == "VarianceScaling":  # over the mean of fan-in and fan-out, at most
        spread = math.sqrt(of("scale", 1) / size)
    if spread == 0:
        return 1.0
    return min(1.0, commonest(a) * (1 + abs(center / spread)) + a.min_normal / abs(spread))


class WeightsReadBack(Holds, frozen=True, kw_only=True):
    """Holds: what was set is what `get_weights` returns, bit for bit."""

    layers = "any"
    needs = (WEIGHTS,)
    questions = ("weights",)

    def spoils(self, run: Experiment) -> list[Path]:
        return [("weights", "*", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        for layer, table in (case.claim.weights or {}).items():
            for name, given in table.items():
                got = case.said["weights"][layer][name].shaped(given.shape)
                got = got.astype(at_least(got.dtype, case.policy.kept_in))
                sent = given.value.astype(got.dtype)
                if case.policy.kept_in == "bfloat16":  # told as float32
                    sent = sent.astype(ml_dtypes.bfloat16).astype(got.dtype)
                yield same(f"{layer}.{name}", got, sent)


class Property(Holds, frozen=True, kw_only=True):
    """Holds of a layer that is made and given no weights; with `on = "printed"` of [printed]."""

    family: ClassVar[bool] = True
    of: Weight
    on: Literal["subject", "printed"] = "subject"
    computed_in: ComputedIn | None = None

    layers = "any"
    needs = ()

    def missing(self, run: Experiment) -> Iterator[str]:
        if self.on == "printed" and self.of not in run.printed:
            yield f"printed.{self.of}"
        if self.on == "subject" and run.input_shape is None:
            yield "input"
        if self.on == "subject" and self.of not in run.gradients:
            yield f"a recurrent layer with a {self.of} of its own"

    def reads(self, reading: Reading) -> dict[str, Any]:
        if self.computed_in and self.on == "subject":
            problem = f"{self.what} is no number that somebody computed; leave it out"
            raise reading.fail("computed_in", problem)
        computed_in = self.computed_in or reading.computed_in or "exact"
        return {**super().reads(reading), "computed_in": computed_in}

    def asks(self, run: Experiment) -> set[str]:
        return {"initial_weights"} if self.on == "subject" else set()

    def spoils(self, run: Experiment) -> list[Path]:
        if self.on == "printed":
            return []
        layer, path = run.gradients[self.of]
        return [("initial_weights", layer.name, path)]

    def held(self, weight: Array, error: Array, a: formats.Arithmetic, who: str) -> Comparison:
        """The weight, off by `error` at most, in an arithmetic."""
        raise NotImplementedError

    def judge(self, case: Case) -> Iterator[Comparison]:
        if self.on == "printed":
            printed = case.claim.printed[self.of]
            author = "float32" if self.computed_in in (None, "exact") else str(self.computed_in)
            a = formats.arithmetic(author)
            yield self.held(printed.value, printed.error, a, "claim")
            return
        layer, path = case.claim.gradients[self.of]
        shape = layer.weight_shapes(case.claim.features_of(layer))[path]
        weight = case.said["initial_weights"][layer.name][path].shaped(shape)
        wide, a = weight.astype(np.float64), formats.arithmetic(case.dtype)
        yield self.held(wide, np.zeros(shape), a, "subject")


class Orthogonal(Property, frozen=True, kw_only=True):
    """Holds: its columns are orthonormal, or its rows where these are fewer."""

    def held(self, weight: Array, error: Array, a: formats.Arithmetic, who: str) -> Comparison:
        if weight.shape[0] < weight.shape[1]:
            weight, error = weight.T, error.T
        product, identity = weight.T @ weight, np.eye(weight.shape[1])
        bound = bounded.orthogonality_bound(weight, error, a)
        return Comparison(who, self.of, product, identity, np.abs(product - identity), bound)


class WithinGlorotUniform(Property, frozen=True, kw_only=True):
    """Holds: no entry exceeds √(6/(rows + columns)), and they are not all alike."""

    def held(self, weight: Array, error: Array, a: formats.Arithmetic, who: str) -> Comparison:
        limit = math.sqrt(6 / sum(weight.shape))  # Glorot & Bengio 2010, equation 16
        bound = np.full(weight.shape, limit * (1 + formats.gamma(4, a.u))) + error
        drawn = is_drawn(weight, max(commonest(a), float(np.max(error, initial=0.0)) / limit))
        reason = "" if drawn else "equal entries: this kernel was not drawn at random"
        zero = np.zeros_like(weight)
        return Comparison(who, self.of, weight, zero, np.abs(weight), bound, reason=reason)


class Zero(Property, frozen=True, kw_only=True):
    """Holds: every entry is 0."""

    def held(self, weight: Array, error: Array, a: formats.Arithmetic, who: str) -> Comparison:
        zero = np.zeros_like(weight)
        return Comparison(who, self.of, weight, zero, np.abs(weight), zero)


class Reproducible(Holds, frozen=True, kw_only=True):
    """Holds: two layers whose initializer has a seed have the same, of the first layer."""

    of: str = ""

    layers = "any"
    needs = (INPUT,)
    questions = ("initialized",)

    def allowed(self, run: Experiment) -> Sequence[str]:
        return list(run.layers[0].weight_shapes(1))

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        name = self.of.removesuffix("_kernel") + "_initializer"
        drawn = getattr(run.layers[0], name, None)
        if not (isinstance(drawn, dict) and "seed" in drawn):
            yield f"{name} with a seed"

    def spoils(self, run: Experiment) -> list[Path]:
        return [("initialized", "second", run.names[0], self.of)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        name, told = case.claim.names[0], case.said["initialized"]
        first = told["first"][name][self.of].array
        second = told["second"][name][self.of].shaped(first.shape).astype(first.dtype)
        given = getattr(case.claim.layers[0], self.of.removesuffix("_kernel") + "_initializer")
        most = commonest_of(given, first.size, formats.arithmetic(case.policy.kept_in))
        drawn = yes(is_drawn(first, most))
        yield equal("subject", f"{self.of} is drawn at random", drawn, "yes")
        yield same(f"{self.of} of a second layer", second, first)


class ForgetBias(Holds, frozen=True, kw_only=True):
    """Holds: the bias of a new LSTM is zero, and one where `unit_forget_bias` says so."""

    layers = "any"
    needs = (INPUT,)
    questions = ("initial_weights",)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        layer = run.layers[0]
        has_it = isinstance(layer, Recurrent) and bool(layer.letters.forget)
        has_it = has_it and hasattr(layer, "unit_forget_bias")
        if not (has_it and layer.option("use_bias")):
            having = (kind for kind, of in FAMILIES.items() if "unit_forget_bias" in of.options)
            yield f"{any_of(having)} with a bias"
        elif getattr(layer, "bias_initializer", msgspec.UNSET) is not msgspec.UNSET:
            yield "Keras's own bias_initializer"

    def spoils(self, run: Experiment) -> list[Path]:
        return [("initial_weights", run.names[0], "bias")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        layer = case.claim.layers[0]
        assert isinstance(layer, Recurrent)
        wanted = np.zeros((layer.gates, layer.units))
        wanted[layer.letters.order.index(layer.letters.forget)] = layer.option("unit_forget_bias")
        bias = case.said["initial_weights"][layer.name]["bias"].shaped((wanted.size,))
        wide, expected = bias.astype(np.float64), wanted.ravel()
        error, places = np.abs(wide - expected), np.indices(expected.shape)
        yield Comparison(
            "subject", "bias", wide, expected, error, np.zeros_like(error), ("unit",), tuple(places)
        )


class InitialWeights(Unasked, OfWeight, frozen=True, kw_only=True):
    """Numbers, or none; with `not_run`: nobody can draw them again without the seed."""

    value: tables.Numbers = None

    layers = "any"
    needs = ()

    def unjudged(self, run: Experiment) -> str:
        return f"{self.what} cannot be reproduced yet"

    def reads(self, reading: Reading) -> dict[str, Any]:
        return {} if self.value is None else super().reads(reading)

    def judge(self, case: Case) -> Iterator[Comparison]:
        return iter(())  # it is not run
