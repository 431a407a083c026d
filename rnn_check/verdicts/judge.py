"""Claim × observation → verdict: does the number hold, and does the framework compute it?

Two questions are kept apart, because their answers blame different people.  Does the *claim* hold:
does the printed interval meet [truth − bound, truth + bound] for the arithmetic that its author
computed in?  Does the *subject* compute it: is what it returned within its own bound of the truth,
and does each of its steps follow from the one before (the certificate)?  A verdict is `agree` when
every comparison made for it holds, and its ratio is the worst error/bound among them.

Sizes: B batch, T timesteps, F features, H units, O units of the Dense layer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

from rnn_check.asking.request import Answer, _needed
from rnn_check.certificates import outcomes as certificates_outcomes
from rnn_check.certificates import public, updates
from rnn_check.certificates import result as certificates_result
from rnn_check.certificates.comparison import HELD, Comparison, bits, equal, no_bound, step
from rnn_check.claims import stack, truth
from rnn_check.claims.claim import (
    BEHAVIOURS,
    COUNTS,
    GRADIENTS,
    OPTIMIZERS,
    PROPERTIES,
    Claim,
    Expectation,
    Layer,
    Masking,
    activation_of,
    axes,
    is_trainable,
    option,
    shape_after,
    weight_shapes,
)
from rnn_check.claims.truth import Bounded, Truth
from rnn_check.claims.written import Array, Given
from rnn_check.numbers import bounded, formats
from rnn_check.recurrences import losses
from rnn_check.subjects.policy import Policy
from rnn_check.verdicts import behaviour

AGREE, DIFFER, ERROR, NOT_RUN = "agree", "differ", "error", "not_run"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one expectation.

    known: what is known to be wrong with the claim's own number (`known_to_differ`).
    deviation: what is known to be wrong with the subject (see `deviations`), which then either
    shows it, and is excused, or does not show it any more.
    unsupported: whether it was not run because the subject says that it has no such thing.
    """

    claim: str
    file: str
    what: str
    verdict: str
    ratio: float | None
    word: str
    document: str
    detail: str
    known: str = ""
    bits: float | None = None
    comparisons: tuple[Comparison, ...] = field(default=(), repr=False)
    deviation: str = ""
    unsupported: bool = False

    @property
    def source(self) -> str:
        """On whose word, and where that stands."""
        return f"{self.word} ({self.document})"

    @property
    def is_red(self) -> bool:
        """Whether the run must fail for it: an unknown difference, or a known one that is gone.

        A claim's number that is known to be wrong excuses no subject; a known deviation does.
        """
        if self.verdict == AGREE:
            return bool(self.known or self.deviation)
        return self.verdict == DIFFER and not self.is_known

    @property
    def is_known(self) -> bool:
        """Whether what is wrong was to be expected, and excused for that."""
        only_the_claim = all(c.ok or c.who == "claim" for c in self.comparisons)
        if self.verdict == DIFFER and self.known and only_the_claim:
            return True
        return self.verdict in (DIFFER, ERROR) and bool(self.deviation)

    @property
    def worst(self) -> Comparison | None:
        """The comparison that decides: the first that fails, else the one of the largest ratio."""
        failing = [c for c in self.comparisons if not c.ok]
        if failing:
            return failing[0]
        return max(self.comparisons, key=lambda c: c.ratio, default=None)


def judge(claim: Claim, answer: Answer, *, dtype: str = "float32") -> list[Verdict]:
    """The verdict on every expectation of a claim; dtype: the policy that the subject ran in."""
    case = _Case(claim, answer.observed or {}, dtype)
    return [_verdict(case, e, answer) for e in claim.expectations]


def _verdict(case: _Case, e: Expectation, answer: Answer) -> Verdict:
    c = case.claim
    section = f", {c.source.section}" if c.source.section else ""
    document = f"{c.source.document}{section}"

    def verdict(kind: str, detail: str, comparisons: tuple[Comparison, ...] = ()) -> Verdict:
        numeric = [m for m in comparisons if m.got.dtype.kind == "f"]
        ratio = max((m.ratio for m in numeric), default=None) if kind != NOT_RUN else None
        bits = [] if kind == NOT_RUN else [m.bits for m in comparisons if m.bits is not None]
        return Verdict(
            claim=c.name,
            file=str(c.file),
            what=e.name,
            verdict=kind,
            ratio=ratio if ratio is not None and math.isfinite(ratio) else None,
            word=e.from_,
            document=document,
            detail=detail,
            known=e.known_to_differ,
            bits=min(bits, default=None),
            comparisons=comparisons,
        )

    if e.not_run or answer.skip:
        return verdict(NOT_RUN, e.not_run or answer.skip)
    needed = _needed(c, e)
    if e.what == "output_dtype" and case.policy.name != "float32":
        return verdict(NOT_RUN, f"the run was asked for in {case.policy.name}")
    if answer.error and needed:
        return verdict(ERROR, answer.error)
    for question in sorted(needed & case.answers.keys()):
        answer = case.answers[question]
        if isinstance(answer, Mapping) and "unsupported" in answer:
            if e.what == "certified" and question in ("gradients", "probe"):
                continue  # the forward pass is certified all the same, and the verdict says so
            return dataclasses.replace(
                verdict(NOT_RUN, str(answer["unsupported"])), unsupported=True
            )
        if isinstance(answer, Mapping) and answer.keys() == {"error", "traceback"}:
            return verdict(ERROR, f"{question}: {answer['error']}\n{answer['traceback']}")
        if question == "weights" and (why := _no_weights(answer)):
            return verdict(ERROR, f"what was observed cannot be compared: {why}")
    if e.what == "certified":
        needed = needed - {"gradients"}  # older records have none: see `only_probed`
    if missing := sorted(needed - case.answers.keys()):
        return verdict(NOT_RUN, f"not observed: {', '.join(missing)}")
    try:
        comparisons = tuple(case.compare(e))
    except _Unproved as reason:
        return verdict(NOT_RUN, str(reason))
    except _Unsupported as reason:
        return dataclasses.replace(verdict(NOT_RUN, str(reason)), unsupported=True)
    except Exception as problem:  # whatever a subject says, the other claims are judged
        return verdict(ERROR, f"what was observed cannot be compared: {problem!r}")
    failing = [m for m in comparisons if not m.ok]
    if failing:
        return verdict(DIFFER, failing[0].blame(), comparisons)
    of_claim = [m for m in comparisons if m.who == "claim"]
    of_subject = [m for m in comparisons if m.who != "claim"]
    for deciding in (of_claim, of_subject):
        if deciding and all(m.says_nothing for m in deciding):
            return verdict(NOT_RUN, deciding[0].unbounded, comparisons)
    for m in comparisons:
        if m.who in ("claim", "subject") and m.unbounded and (why := too_little(m)):
            return verdict(NOT_RUN, why, comparisons)
    if unproved := [m.unproved for m in comparisons if m.unproved]:
        return verdict(NOT_RUN, unproved[0], comparisons)
    if not comparisons:
        return verdict(ERROR, "nothing was compared")
    praise = _praise(comparisons)
    if e.what == "certified" and (names := case.only_probed):
        praise += f"; the gradients of {', '.join(names)} only as a model with a probe shows them"
    return verdict(AGREE, praise, comparisons)


def too_little(m: Comparison) -> str:
    """Why it proves nothing that none of these numbers is beyond its bound; empty if it does."""
    size, least = m.bound.size, (1 - certificates_result.ENOUGH_JUDGED) * m.bound.size
    if m.unjudged > least:
        return f"{m.what}: {m.unjudged:,} of {size:,} numbers are not judged: {m.unbounded}"
    if m.unjudged + m.vague > least:
        return (
            f"{m.what}: not proved: errors may grow so large that {m.vague:,} of {size:,} numbers "
            "may be off by more than any of them is"
        )
    return ""


def _that_fits(forms: list[Comparison]) -> Comparison:
    """The first that holds; else the first that says nothing; else the first, which differs."""
    held = [form for form in forms if form.ok and not form.says_nothing]
    silent = [form for form in forms if form.says_nothing]
    return (held or silent or forms)[0]


def _praise(comparisons: tuple[Comparison, ...]) -> str:
    """Why it agrees, in one line."""
    parts = []
    for m in comparisons:
        if m.praise:
            parts.append(m.praise)
            continue
        exact = not m.bound.any() if m.got.dtype.kind == "f" else True
        how = "exactly" if exact else f"{m.ratio:.2g} of the bound"
        if m.vague:
            how += f"; the bound of {m.vague:,} of {m.bound.size:,} is larger than every number"
        if m.unjudged:
            how += f"; {m.unjudged:,} of {m.bound.size:,} have no bound and are not judged"
        parts.append(f"{HELD[m.who]} ({how})")
    return "; ".join(dict.fromkeys(parts))


# --- one claim's comparisons ----------------------------------------------------------------------


class _Unproved(Exception):
    """Nothing was wrong, but too little could be judged to say that it is right."""


class _Unsupported(Exception):
    """What was answered says that the subject has no such thing."""


class _Case:
    """A claim beside what was observed: the comparisons that decide each expectation."""

    def __init__(self, claim: Claim, answers: Mapping[str, Any], dtype: str) -> None:
        self.claim = claim
        self.policy = Policy(dtype)
        self.answers = answers  # as they were said, whatever that may be
        self.dtype = self.policy.computed_in
        self._truths: dict[tuple[str, str], Truth] = {}

    @cached_property
    def observed(self) -> Mapping[str, Any]:
        """The answers, with the weights that the subject ran on."""
        if _no_weights(self.answers.get("weights")):
            return self.answers
        ran_on = _as_sent(self.claim, self.answers["weights"], self.policy.kept_in)
        return {**self.answers, "weights": ran_on}

    def truth(self, computed_in: str, loss_in: str = "") -> Truth:
        key = (computed_in, loss_in)
        return self._truths.setdefault(key, Truth(self.claim, *key))

    def compare(self, e: Expectation) -> Iterator[Comparison]:
        """Every comparison on which the expectation's verdict rests."""
        if e.what in COUNTS:
            return self._count(e)
        if e.what in PROPERTIES:
            return self._property(e)
        if e.what == "dropout":
            return behaviour.dropout(self.claim, e.of, self.observed, self.policy.layer)
        if e.what in BEHAVIOURS:
            shown: Callable[..., Iterator[Comparison]] = getattr(behaviour, e.what)
            about_loss = e.what in ("loss_of_evaluate", "one_update")
            more = {"loss_in": self.policy.loss_in} if about_loss else {}
            return shown(self.claim, self.observed, self.policy.layer, **more)
        compare: Callable[[Expectation], Iterator[Comparison]] = getattr(self, f"_{e.what}")
        return compare(e)

    # -- the recurrence: output, states, loss, gradients

    def _array(self, e: Expectation, name: str, observed: Array | None) -> Iterator[Comparison]:
        """The author's number against the truth, then the subject's."""
        yield self._word(e, *self.truth(e.computed_in)[name])
        if observed is not None:
            yield self._subject(e, name, observed)

    def _word(self, e: Expectation, value_of: Array, bound: Array) -> Comparison:
        """The number that is printed: its digits claim an interval, which must meet the truth's."""
        value: Given = e.value
        expected, allowed = e.select(value_of), e.select(bound)
        places = _places(e, value_of.shape)
        interval = None if e.computed_in == "exact" else (value.lo, value.hi)
        lo, hi = (value.value, value.value) if interval is None else interval
        with np.errstate(invalid="ignore"):
            error = np.maximum(np.maximum(expected - hi, lo - expected), 0.0)
        # where no bound can be given, what is no number differs all the same, but for the infinity
        # of an arithmetic that holds no number so large
        most = formats.arithmetic(self.truth(e.computed_in).arithmetic).max
        too_large = np.abs(expected) > most
        allowed = np.where(np.isfinite(value.value) | too_large, allowed, 0.0)
        return Comparison(
            "claim", e.what, value.value, expected, error, allowed, *places, interval=interval,
            unbounded=no_bound(e.computed_in),
        )  # fmt: skip

    def _subject(self, e: Expectation, name: str, observed: Array) -> Comparison:
        whole = self.truth(self.dtype, self.policy.loss_in)[name]
        if observed.shape != whole[0].shape:
            shapes = (str(part.shape) for part in (observed, whole[0]))
            return equal("subject", f"shape of {e.name}", *shapes)
        return self._returned(e, observed, whole)

    def _returned(self, e: Expectation, observed: Array, whole: Bounded) -> Comparison:
        """What the framework returned against the truth of the whole array, and its bound."""
        places = _places(e, observed.shape)
        got = e.select(observed.astype(np.float64))
        expected, bound = (e.select(part) for part in whole)
        if e.computed_in == "exact" and self.dtype in ("float32", "float64"):
            # nothing is rounded (the integers may be too long for a narrow arithmetic)
            bound = np.zeros_like(got)
        with np.errstate(invalid="ignore"):  # a NaN or an infinity is an infinite error
            error = np.abs(got - expected)
        return Comparison(
            "subject", e.what, got, expected, error, bound, *places,
            unbounded=no_bound(self.policy.name),
        )  # fmt: skip

    def _input(self, e: Expectation) -> Iterator[Comparison]:
        assert self.claim.x is not None
        yield self._word(e, self.claim.x.value, self.claim.x.error)

    def _preactivation(self, e: Expectation) -> Iterator[Comparison]:
        yield from self._array(e, "preactivation", None)

    def _output(self, e: Expectation) -> Iterator[Comparison]:
        if self.claim.is_stack:
            yield from self._array(e, "output", self.observed["outputs"]["layers"][-1])
            yield from self._layer_steps()
            return
        yield from self._array(e, "output", self.observed["output"])
        yield self._steps()

    def _states(self, e: Expectation) -> Iterator[Comparison]:
        yield from self._array(e, "states", self.observed["states"])
        yield self._steps()
        yield from self._zeros()

    def _last_state(self, e: Expectation) -> Iterator[Comparison]:
        yield from self._array(e, "last_state", self.observed["last_state"])
        yield self._steps()

    def _loss(self, e: Expectation) -> Iterator[Comparison]:
        """In the form that fits: a framework, and an author who prints its loss, take either."""
        observed = self.observed["gradients"]["loss"]
        yield _that_fits([self._word(e, *form) for form in self.truth(e.computed_in).losses])
        forms = self.truth(self.dtype, self.policy.loss_in).losses
        yield _that_fits([self._returned(e, observed, form) for form in forms])

    def _gradient(self, e: Expectation) -> Iterator[Comparison]:
        yield from self._array(e, e.of, self.observed["gradients"][e.of])
        yield from self._gradient_steps([e.of])

    def _certified(self, e: Expectation) -> Iterator[Comparison]:
        if self.claim.is_stack:
            yield from self._layer_steps()
            return
        yield self._steps()
        yield from self._zeros()
        output, last = self.observed["output"], self.observed["states"][:, -1]
        sequence = option(self.claim.rnn, "return_sequences")
        if self.claim.dense is None and sequence:
            if not _alike(output, self.observed["states"]):
                yield self._steps("output")
        elif self.claim.dense is not None or not _alike(output, last):
            yield stack.bounded("output", output, self.truth(self.dtype)["output"], "subject")
        if self.claim.loss is not None:
            yield from self._gradient_steps([])
            yield from self._unprobed()

    def _regularization(self, e: Expectation) -> Iterator[Comparison]:
        yield from self._array(e, "regularization", self.observed["losses"]["losses"])

    def _activity_loss(self, e: Expectation) -> Iterator[Comparison]:
        """From the outputs that the subject itself returned, so that no recurrence is needed."""
        told = self.observed["losses"]
        outputs = stack.exactly(told["activities"])
        loss = truth.regularization(self.claim, outputs, self.dtype)
        yield stack.bounded("loss of the regularizers", told["losses"], loss)

    def _mask(self, e: Expectation) -> Iterator[Comparison]:
        at = next(i for i, layer in enumerate(self.claim.layers) if layer.name == e.of)
        found = stack.run(self.claim, "exact")[at].mask
        for who, mask in (("claim", found), ("subject", self.observed["outputs"]["masks"][at])):
            if mask is None or e.value is None:
                got, wanted = ("no mask" if each is None else "a mask" for each in (mask, e.value))
            elif mask.shape != e.value.shape:
                got, wanted = (f"a mask of shape {each.shape}" for each in (mask, e.value))
            else:
                error = (mask != e.value).astype(np.float64)
                names, places = ("sample", "timestep"), tuple(np.indices(mask.shape))
                shown, given = mask.astype(np.float64), e.value.astype(np.float64)
                if who == "claim":
                    shown, given = given, shown
                yield Comparison(
                    who, e.name, shown, given, error, 0 * error, names, places,
                    against="true" if who == "claim" else "claimed",
                )  # fmt: skip
                continue
            if who == "claim":
                yield equal(who, e.name, wanted, got)
            else:
                yield equal(who, e.name, got, wanted, "claimed")

    def _raises(self, e: Expectation) -> Iterator[Comparison]:
        told = self.observed["shrunk" if e.of == "smaller batch" else "raises"]
        if "control" not in told:  # by an older rnn_check
            raise _Unsupported("the same call with right arguments was not recorded: ask anew")
        yield from behaviour.raises(e.value, e.of, told)

    # -- the certificates

    def _layer_steps(self) -> Iterator[Comparison]:
        """Each layer of a stack against what was observed of the one before it."""
        outputs = self.observed["outputs"]["layers"]
        states = self.observed["outputs"]["states"]
        return stack.steps(self.claim, self.observed["weights"], outputs, states, self.policy.layer)

    def _steps(self, name: str = "states", states: Array | None = None) -> Comparison:
        """Each state against the state before it."""
        states = self._carried(self.observed[name] if states is None else states)
        found = public.certify(states, dtype=self.dtype, **self._run())
        return step(name, found, axes("states", "", 3))

    def _zeros(self) -> Iterator[Comparison]:
        """What zero_output_for_mask promises."""
        mask = self.claim.processed_mask
        if mask is not None and option(self.claim.rnn, "zero_output_for_mask"):
            yield stack.zeros(self.observed["states"], mask)

    def _gradient_steps(self, of: list[str]) -> Iterator[Comparison]:
        """Each adjoint against the one after it, then the gradients named (all if none is)."""
        probe = self.observed["probe"]
        if isinstance(probe, Mapping) and "unsupported" in probe:
            return  # a backend without gradients
        if "states" not in self.observed or not _alike(probe["states"], self.observed["states"]):
            yield self._steps("states with the probe", probe["states"])
        cotangent, error = truth.cotangent_of(
            self.claim, probe["states"], probe["output"], self.dtype, self.policy.loss_in
        )
        found = public.certify_gradients(
            {k: v for k, v in probe.items() if k in ("delta", *GRADIENTS)},
            cotangent=cotangent,
            cotangent_error=error,
            states=self._carried(probe["states"]),
            dtype=self.dtype,
            **self._run(),
        )
        for name, result in found.items():
            if not of or name in ("delta", *of):
                names = axes("gradient", name, result.residual.ndim)
                yield step(f"gradient of {name}" if name != "delta" else name, result, names)

    @property
    def only_probed(self) -> list[str]:
        """The gradients that are not judged of the model itself.

        An older rnn_check did not ask for them. Before the first step that counts either zeros or
        the initial state are shown, so that its gradient has no one truth.
        """
        probe, told = (self.answers.get(question, {}) for question in ("probe", "gradients"))
        if self.claim.is_stack or "unsupported" in probe:
            return []
        mask = self.claim.processed_mask
        untold = [name for name in GRADIENTS if name in probe and name not in told]
        if mask is not None and not mask[:, 0].all() and "initial_state" in told:
            untold.append("initial_state")
        return untold

    def _unprobed(self) -> Iterator[Comparison]:
        """What the model computes without the probe: the same bits, or within the running bound.

        The probe has more features than the model. A layer that tells them apart could be right
        with it and wrong without.
        """
        probe, told = (self.observed.get(question, {}) for question in ("probe", "gradients"))
        names = [name for name in GRADIENTS if name in probe and name not in self.only_probed]
        pairs = [(f"gradient of {name} without the probe", name, told[name]) for name in names]
        if "output" in probe and self.claim.dense is not None:  # else it is the states
            pairs.append(("output with the probe", "output", probe["output"]))
        for what, name, got in pairs:
            if not _alike(got, self.observed["output"] if name == "output" else probe[name]):
                truth = self.truth(self.dtype, self.policy.loss_in)[name]
                yield stack.bounded(what, got, truth, "subject")

    def _carried(self, states: Array) -> Array:
        """The states as they were carried, where `zero_output_for_mask` shows zeros instead."""
        mask = self.claim.processed_mask
        if mask is None or not option(self.claim.rnn, "zero_output_for_mask"):
            return states
        return stack.carried(states, mask)

    def _run(self) -> dict[str, Any]:
        """What the subject ran on: the input rounded as it was, the weights as they read back."""
        claim = self.claim
        assert claim.x is not None
        weights = self.observed["weights"][claim.rnn.name]
        state = claim.initial_state
        return {
            "x": claim.x.value,
            "kernel": weights["kernel"],
            "recurrent_kernel": weights["recurrent_kernel"],
            "bias": weights.get("bias"),
            "initial_state": None if state is None else state.value,
            **claim.recurrence,
        }

    # -- defaults, counts, shapes, dtypes

    def _default(self, e: Expectation) -> Iterator[Comparison]:
        """What was made without that option says that it is.  Of a table: what the claim names."""
        told = self.observed["config"]
        where, _, name = e.of.rpartition(".")
        if where in OPTIMIZERS:
            config = told["optimizers"][where]
        else:
            config = told["layers"][where or self.claim.layers[0].name]
        if name not in config and e.what == "default":
            raise _Unsupported(f"its configuration has no {name}")
        got, wanted = config.get(name, "nothing"), e.value
        if isinstance(wanted, dict) and isinstance(got, dict):
            got = {part: got.get(part) for part in wanted}
        if isinstance(wanted, float) and got == float(np.float32(wanted)):
            got = wanted  # a learning rate is kept in a float32
        yield equal("subject", e.name, _as_written(got), _as_written(wanted), "claimed")

    _config = _default  # of what was made with it

    def _count(self, e: Expectation) -> Iterator[Comparison]:
        claim = self.claim
        sizes = {layer.name: self._parameters(layer) for layer in claim.layers}
        wanted = {
            "parameters": list(claim.layers),
            "trainable": [layer for layer in claim.layers if is_trainable(layer)],
            "non_trainable": [layer for layer in claim.layers if not is_trainable(layer)],
        }[e.what]
        counted = sum(sizes[layer.name] for layer in wanted if e.of in ("", layer.name))
        yield equal("claim", e.what, e.value, counted)
        summary = self.observed["summary"]
        part = next(p for p in summary["layers"] if p["name"] == e.of) if e.of else summary
        yield equal("subject", e.what, part[e.what], e.value, "claimed")

    def _parameters(self, layer: Layer) -> int:
        """SimpleRNN: F·H + H·H + H.  Dense: H·O + O.  Without bias the last term is missing."""
        assert self.claim.input_shape is not None
        features = self.claim.input_shape[-1]
        for before in self.claim.layers[: self.claim.layers.index(layer)]:
            features = features if isinstance(before, Masking) else before.units
        return sum(math.prod(shape) for shape in weight_shapes(layer, features).values())

    def _output_shape(self, e: Expectation) -> Iterator[Comparison]:
        claim = self.claim
        assert claim.input_shape is not None
        layer = next(part for part in claim.layers if part.name == (e.of or claim.layers[-1].name))
        printed_by_summary = e.value.startswith("(None")
        batch = None if printed_by_summary or claim.x is None else claim.x.shape[0]
        shape = claim.input_shape
        for part in claim.layers[: claim.layers.index(layer) + 1]:
            shape = shape_after(part, shape)
        yield equal("claim", e.what, e.value, _shape((batch, *shape)))
        if printed_by_summary:
            parts = self.observed["summary"]["layers"]
            got = next(p["output_shape"] for p in parts if p["name"] == layer.name)
        else:
            got = self.observed["output"].shape
        yield equal("subject", e.what, _shape(got), e.value, "claimed")

    def _output_dtype(self, e: Expectation) -> Iterator[Comparison]:
        yield equal("subject", e.what, str(self.observed["output"].dtype), e.value, "claimed")

    def _input_shape(self, e: Expectation) -> Iterator[Comparison]:
        assert self.claim.x is not None
        yield equal("claim", e.what, e.value, _shape(self.claim.x.shape))

    def _weight_shape(self, e: Expectation) -> Iterator[Comparison]:
        weights = self.observed["initial_weights"][self.claim.rnn.name]
        yield equal("subject", e.what, _shape(weights[e.of].shape), e.value, "claimed")

    # -- weights

    def _weights_read_back(self, e: Expectation) -> Iterator[Comparison]:
        assert self.claim.weights is not None
        for layer, table in self.claim.weights.items():
            for name, given in table.items():
                got = self.answers["weights"][layer][name]
                got = got.astype(_at_least(got.dtype, self.policy.kept_in))
                sent = given.value.astype(got.dtype)
                if self.policy.kept_in == "bfloat16":  # told as float32
                    sent = sent.astype(ml_dtypes.bfloat16).astype(got.dtype)
                error = np.where(bits(got) == bits(sent), 0.0, np.inf)
                nothing = np.zeros_like(error)
                yield Comparison("subject", f"{layer}.{name}", got, sent, error, nothing)

    def _reproducible(self, e: Expectation) -> Iterator[Comparison]:
        """Two layers made of one description that holds a seed, and are drawn, have the same."""
        name = self.claim.layers[0].name
        told = self.observed["initialized"]
        first, second = (told[which][name][e.of] for which in ("first", "second"))
        drawn = "yes" if len(np.unique(first)) == first.size else "no"
        yield equal("subject", f"{e.of} is drawn at random", drawn, "yes")
        error = np.where(bits(first) == bits(second), 0.0, np.inf)
        places: tuple[Array, ...] = tuple(np.indices(first.shape))
        names = ("row", "column") if first.ndim == 2 else ("unit",)
        yield Comparison(
            "subject", f"{e.of} of a second layer", second, first, error, 0 * bits(first), names,
            places,
        )  # fmt: skip

    def _property(self, e: Expectation) -> Iterator[Comparison]:
        if e.on == "printed":
            printed = self.claim.printed[e.of]
            weight, error = printed.value, printed.error
        else:
            observed = self.observed["initial_weights"][self.claim.rnn.name][e.of]
            weight, error = observed.astype(np.float64), np.zeros(observed.shape)
        who = "claim" if e.on == "printed" else "subject"
        author = "float32" if e.computed_in == "exact" else e.computed_in
        a = formats.arithmetic(author if e.on == "printed" else self.dtype)
        if e.what == "zero":
            zero = np.zeros_like(weight)
            yield Comparison(who, e.of, weight, zero, np.abs(weight), zero)
        elif e.what == "orthogonal":
            product, identity = weight.T @ weight, np.eye(weight.shape[1])
            bound = bounded.orthogonality_bound(weight, error, a)
            yield Comparison(who, e.of, product, identity, np.abs(product - identity), bound)
        else:
            limit = math.sqrt(6 / sum(weight.shape))  # Glorot & Bengio 2010, equation 16
            bound = np.full(weight.shape, limit * (1 + formats.gamma(4, a.u))) + error
            # a draw repeats a float32 so rarely that equal entries mean a constant kernel
            drawn = len(np.unique(weight)) == weight.size
            reason = "" if drawn else "equal entries: this kernel was not drawn at random"
            zero = np.zeros_like(weight)
            yield Comparison(who, e.of, weight, zero, np.abs(weight), bound, reason=reason)

    # -- printed predictions

    def _loss_of_predictions(self, e: Expectation) -> Iterator[Comparison]:
        loss = self.claim.loss
        assert loss is not None
        predictions = self.claim.printed["predictions"]
        target = loss.value.value.reshape(predictions.shape)
        loss_of, bound = losses.running_loss(
            loss.kind, target, predictions.value, predictions.error, arithmetic=e.computed_in
        )
        yield self._word(e, np.asarray(loss_of), np.asarray(bound))

    def _predictions_reachable(self, e: Expectation) -> Iterator[Comparison]:
        """Dense weights that give the printed predictions exist.

        They are a solution of [H 1]·[V; c] = p, with the last states H (B,H) and as many
        predictions as samples.  One exists for every p when [H 1] has full row rank; by Weyl's
        inequality it has, whatever the error of H, if its smallest singular value exceeds the
        norm of that error.  Then the subject is asked with such weights.
        """
        states, error = self.truth("float32")["last_state"]
        augmented = np.concatenate([states, np.ones((len(states), 1))], axis=1)
        smallest = np.linalg.svd(augmented, compute_uv=False).min()
        own = formats.gamma(augmented.size, 2.0**-53) * np.linalg.norm(augmented)
        perturbation = np.asarray(np.linalg.norm(error) + own)
        yield Comparison(
            "claim",
            "error of the states against the smallest singular value of [h 1]",
            np.asarray(perturbation),
            np.asarray(0.0),
            perturbation,
            np.asarray(smallest),
        )
        predictions = self.claim.printed["predictions"]
        got = self.observed["output"].astype(np.float64).reshape(predictions.shape)
        bound = self.truth(self.dtype)["output"][1].reshape(predictions.shape) + predictions.error
        error = np.abs(got - predictions.value)
        yield Comparison("subject", "output", got, predictions.value, error, bound)

    # -- training

    def _updates(self, e: Expectation) -> Iterator[Comparison]:
        """Each update of the recorded training against the state before it."""
        claim, recorded = self.claim, self.observed["training"]
        assert claim.training is not None and claim.weights is not None
        start = {
            layer: {name: given.value for name, given in table.items()}
            for layer, table in claim.weights.items()
        }
        adam = updates.Adam(float(claim.training.learning_rate))
        found = updates.certify_training(
            *(self._by_name(recorded[part]) for part in ("weights", "m", "v")),
            network=self._network(),
            adam=adam,
            iterations=recorded["iterations"],
            loss=recorded["loss"],
            start=self._by_name(start),
            dtype=self.dtype,
        )
        done, asked = np.asarray(found.updates), np.asarray(claim.training.epochs)
        missing = np.abs(done - asked)
        follow = f"each of {done:,} updates follows"
        if found.judged < 1:
            follow = f"{found.certified:,} of {done:,} updates follow; rounding hides the others"
        if found.ok is None and not missing:
            raise _Unproved(found.reason)
        yield Comparison("step", "updates", done, asked, missing, 0 * missing, praise=follow)
        # what fails first comes first, as it is what the verdict quotes
        for q in sorted(found.quantities.values(), key=lambda q: q.name != found.where[1]):
            yield _updated(q)
        told = [recorded["optimizer"][f.name] for f in dataclasses.fields(adam)]
        got, expected = np.asarray(told), np.asarray(dataclasses.astuple(adam))
        bound = expected * formats.arithmetic(self.dtype).u
        error = np.abs(got - expected)
        yield Comparison("subject", "learning rate, betas, epsilon", got, expected, error, bound)

    def _ordinary_outcome(self, e: Expectation) -> Iterator[Comparison]:
        """The author's number among those that random Dense layers end with."""
        drawn = getattr(self.outcomes, e.of)  # (D,...)
        places = _places(e, drawn.shape[1:])
        drawn = np.stack([e.select(draw) for draw in drawn])
        value: Given = e.value
        found = [
            certificates_outcomes.place(*each)
            for each in zip(
                drawn.reshape(len(drawn), -1).T, value.lo.ravel(), value.hi.ravel(), strict=True
            )
        ]
        median, low, high = (
            np.reshape([getattr(p, part) for p in found], value.shape)
            for part in ("median", "low", "high")
        )
        above = value.value >= median
        error = np.maximum(np.where(above, value.lo - median, median - value.hi), 0.0)
        bound = np.where(above, high - median, median - low)
        percentiles = ", ".join(f"{p.percentile:.0f}" for p in found)
        held = f"an ordinary outcome: percentile {percentiles} of {len(drawn):,} draws"
        yield Comparison(
            "claim", f"{e.of} among random draws", value.value, median, error, bound, *places,
            praise=held, against="their median",
        )  # fmt: skip

    @cached_property
    def outcomes(self) -> certificates_outcomes.Outcomes:
        claim = self.claim
        assert claim.training is not None and claim.weights is not None
        weights = claim.weights[claim.rnn.name]
        return certificates_outcomes.outcomes(
            self._network(),
            kernel=weights["kernel"].value,
            recurrent_kernel=weights["recurrent_kernel"].value,
            bias=weights["bias"].value if "bias" in weights else None,
            adam=updates.Adam(float(claim.training.learning_rate)),
            epochs=claim.training.epochs,
        )

    def _network(self) -> updates.Network:
        claim = self.claim
        assert claim.x is not None and claim.loss is not None and claim.dense is not None
        return updates.Network(
            x=claim.x.value,
            target=claim.loss.value.value,
            activation=activation_of(claim.rnn),
            dense_activation=activation_of(claim.dense),
            go_backwards=option(claim.rnn, "go_backwards"),
        )

    def _by_name(self, part: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
        """Weights layer by layer as the training certificate calls them."""
        assert self.claim.dense is not None
        prefix = {self.claim.rnn.name: "", self.claim.dense.name: "dense."}
        return {
            prefix[layer] + name: array
            for layer, table in part.items()
            for name, array in table.items()
        }


def _at_least(dtype: np.dtype[Any], kept_in: str) -> np.dtype[Any]:
    """Weights kept in less than they should be are others. (NumPy has no bfloat16.)"""
    return np.promote_types(dtype, "float32" if kept_in == "bfloat16" else kept_in)


def _no_weights(answer: Any) -> str:
    """Why an answer is no weights, layer by layer; empty if it is."""
    for table in (answer, *(answer.values() if isinstance(answer, Mapping) else ())):
        if not isinstance(table, Mapping):
            return f"the weights are no tables of arrays, but {table!r:.40}"
        if bad := [name for name, a in table.items() if not isinstance(a, Mapping | np.ndarray)]:
            return f"the weights {bad[0]!r:.40} are no array"
    return ""


def _as_sent(claim: Claim, read_back: Mapping[str, Any], kept_in: str) -> dict[str, Any]:
    """The weights that the subject ran on: as they read back, or else as they were given.

    What it says of them itself proves nothing, as it might keep others and follow those. So they
    have to be one of the two nearest to what was given in the dtype of weights (some cast twice),
    or 0 in place of a subnormal.
    """
    a, sent = formats.arithmetic(kept_in), {name: dict(kept) for name, kept in read_back.items()}
    for layer, table in (claim.weights or {}).items():
        kept = sent.get(layer, {})
        for name, given in table.items():
            array = kept.get(name)
            if not isinstance(array, np.ndarray) or array.shape != given.shape:
                continue
            with np.errstate(invalid="ignore", over="ignore"):
                off = np.abs(array.astype(np.float64) - given.value)
                near = off <= 2 * a.u * np.abs(given.value) + a.min_normal
                if not near.all():
                    sent[layer][name] = given.value.astype(_at_least(array.dtype, kept_in))
    return sent


def _updated(q: updates.Quantity) -> Comparison:
    """Row t is the state after update t; what has no bound is left out."""
    rows = np.indices(q.observed.shape)
    known = np.isfinite(q.bound)
    kept: Any = slice(None) if known.all() else known
    return Comparison(
        who="step",
        what=q.name,
        got=q.observed[kept],
        expected=q.expected[kept],
        error=q.residual[kept],
        bound=q.bound[kept],
        axes=("update", "of"),
        coordinates=(rows[0][kept], np.asarray(q.elements)[rows[1][kept]]),
        praise=f"{q.name} ({f'{q.ratio:.2g} of the bound' if q.bound.any() else 'exactly'})",
    )


def _places(e: Expectation, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[Array, ...]]:
    """The names of the whole array's axes, and where on them each selected entry stands."""
    return e.axes(len(shape)), tuple(e.select(index) for index in np.indices(shape))


def _shape(sizes: Iterable[int | None]) -> str:
    """As Keras's summaries print it: "(None, 3)"."""
    return str(tuple(None if n is None else int(n) for n in sizes))


def _as_written(value: Any) -> str:
    """True, 1e-07, None, tanh, or {kind: GlorotUniform, seed: None}."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_as_written(part)}' for name, part in value.items())}}}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))
    return str(value)


def _alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool((bits(one) == bits(other)).all())


@dataclass(frozen=True)
class Judged:
    """One subject and the verdicts on it; rerun: the arguments that ask it alone."""

    subject: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    rerun: Sequence[str] = ()
