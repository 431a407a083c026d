"""What does one step of fit do: what does it train, constrain and drop?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

from rnn_check.certificates.comparison import Comparison, bits, equal
from rnn_check.claims import stack
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.bitwise import moved, same, yes
from rnn_check.claims.expectations.case import Case, Malformed, Said, Unproved
from rnn_check.claims.expectations.expectation import MSE, ONE_OUTPUT, WEIGHTS, Holds, Path, X
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Layer, Recurrent
from rnn_check.claims.layers.layer import described
from rnn_check.claims.layers.signal import at_the_end, last_of
from rnn_check.claims.loss import given_to_loss, loss_of_kept
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded
from rnn_check.recurrences import losses, penalties, running
from rnn_check.refusal import any_of
from rnn_check.subjects.asked.named import FAMILIES

LEARNING_RATE = 0.125  # of the one step of fit that is asked for; a power of two rounds nothing


class FitOnce(Holds, frozen=True, kw_only=True):
    """What one step of fit does."""

    family: ClassVar[bool] = True
    needs = (X, WEIGHTS, MSE, ONE_OUTPUT)
    questions = ("fit_once",)

    def tells(self) -> dict[str, Any]:
        return {"learning_rate": LEARNING_RATE}


def _stepped(case: Case) -> dict[tuple[str, str], Bounded]:
    """Where a step of SGD ends from the claim's weights, by layer and path, of what is trained.

    Empty where more than the loss and the weights decide it.
    """
    run, found = case.claim, dict[tuple[str, str], Bounded]()
    inside = [each for layer in run.layers for _, each, _ in layer.parts(1)]
    drops = any(any(_rates(each)) for each in inside if isinstance(each, Recurrent))
    penalized = any(
        described(getattr(each, f"{part}_regularizer", None))
        for each in inside
        for part in ("kernel", "recurrent", "bias", "activity")
    )
    # before the first step that counts the loss may see zeros, or the initial state
    begins_anyhow = run.initial_state is not None and run.mask is not None
    if drops or penalized or begins_anyhow:
        return found
    truth, kept = case.truth(case.dtype, case.policy.loss_in), case.policy.kept_in
    for name, (layer, path) in run.gradients.items():
        given = (run.weights or {}).get(layer.name, {}).get(path)
        if given is None or not layer.is_trainable:
            continue
        gradient, off = truth.gradient(name)
        off = given.error + LEARNING_RATE * off
        step = LEARNING_RATE * gradient
        found[layer.name, path] = _taken(given.value, step, off, formats.arithmetic(kept))
    return found


@np.errstate(invalid="ignore", over="ignore")
def _taken(weight: Array, step: Array, off: Array, a: formats.Arithmetic) -> Bounded:
    """The weight less the step, a product; off: by how much both may be off."""
    most = np.abs(weight) + np.abs(step) + off
    off = off + (formats.gamma(2, a.u_stored) + 2.0**-52) * most + 3 * a.min_normal
    return Bounded(weight - step, np.where(most + off <= a.max, off, np.inf), a)


def _must_move(before: Array, after: Bounded) -> bool:
    """Whether no number that `after` allows is the one that was there."""
    return bool((np.abs(after.value - before) > after.error).any())


def _is_skipped(case: Case) -> bool:
    """Whether no step may have been taken: of a loss that is scaled, if a gradient overflows, no
    weight is changed and none constrained."""
    told = case.said["fit_once"]
    return case.policy.computed_in == "float16" and not any(
        moved(before, told["after"][layer][name].shaped(before.shape))
        for layer, table in told["before"].table()
        for name, before in table.arrays().items()
    )


_SKIPPED = "no weight changed, as where a gradient overflows in half precision"


class Frozen(FitOnce, frozen=True, kw_only=True):
    """Holds: what is not trainable is not trained; needs `mse`."""

    layers = "any"

    def spoils(self, run: Experiment) -> list[Path]:
        frozen = [layer.name for layer in run.layers if not layer.is_trainable]
        return [("fit_once", "after", name, "*") for name in frozen]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """A step of fit changes what is trainable, where its gradient is large enough to be seen,
        and nothing else."""
        found = list(self._of_weights(case))
        if _is_skipped(case) and all(each.ok for each in found):
            raise Unproved(_SKIPPED)
        yield from found

    def _of_weights(self, case: Case) -> Iterator[Comparison]:
        told, stepped = case.said["fit_once"], {} if _is_skipped(case) else _stepped(case)
        for layer in case.claim.layers:
            own = layer.name in told["trainable"]
            listed = [s.text for s in told["trainable"][layer.name]] if own else []
            weights = told["before"][layer.name].arrays() if layer.name in told["before"] else {}
            for name, before in weights.items():
                after = told["after"][layer.name][name].shaped(before.shape)
                is_named = f"{layer.name}.{name} is trainable"
                yield equal("subject", is_named, name in listed, layer.is_trainable)
                what, end = f"{layer.name}.{name}", stepped.get((layer.name, name))
                if not layer.is_trainable:
                    yield same(f"{what} after fit", after, before)
                elif end is not None and _must_move(before, _constrained(layer, name, end)):
                    yield equal("subject", f"{what} was trained", yes(moved(before, after)), "yes")


class Constrained(FitOnce, frozen=True, kw_only=True):
    """Holds: constraints hold after an update; needs `mse`."""

    layers = "any"

    def unjudged(self, run: Experiment) -> str:
        of_run = [trained.of_layer(layer, "constraint") for layer in run.layers]
        if all(limits.get("axis", 0) == 0 for each in of_run for _, limits in each):
            return ""
        return f"{self.what} is judged of norms along the first axis only, of what enters each unit"

    def spoils(self, run: Experiment) -> list[Path]:
        return []  # a constraint leaves a range

    def judge(self, case: Case) -> Iterator[Comparison]:
        """After a step of fit the weights are changed, and as their constraints want them."""
        if _is_skipped(case):
            raise Unproved(_SKIPPED)
        told, stepped, a = case.said["fit_once"], _stepped(case), formats.arithmetic(case.dtype)
        for layer in case.claim.layers:
            weights = told["after"][layer.name].arrays() if layer.name in told["after"] else {}
            for name, after in weights.items():
                if (wanted := _constraint_of(layer, name)) is None:
                    continue
                before = told["before"][layer.name][name].shaped(after.shape)
                what, end = f"{layer.name}.{name}", stepped.get((layer.name, name))
                if end is not None and _must_move(before, _constrained(layer, name, end)):
                    yield equal("subject", f"{what} was trained", yes(moved(before, after)), "yes")
                kind, limits = wanted
                yield _CONSTRAINTS[kind](f"{what} is {kind}", after.astype(np.float64), limits, a)


def _constraint_of(layer: Layer, path: str) -> tuple[str, dict[str, Any]] | None:
    """(class, its arguments) of the weight of that path."""
    weight = path.rpartition(".")[2].removesuffix("_kernel")
    found = described(getattr(layer.holder(path), f"{weight}_constraint", None))
    if found is None:
        return None
    return found["kind"], {name: each for name, each in found.items() if name != "kind"}


def _constrained(layer: Layer, path: str, end: Bounded) -> Bounded:
    """The weight of that path, which a step leaves at `end`, as its constraint leaves it."""
    if (wanted := _constraint_of(layer, path)) is None:
        return end
    kind, limits = wanted
    if limits.get("axis", 0) != 0:  # anything may become of it
        return Bounded(end.value, np.full_like(end.value, np.inf), end.a)
    whole = Bounded(end.value[None], end.error[None], end.a)
    found = penalties.constraint(kind, **limits).applied(whole)
    return Bounded(found.value[0], found.error[0], end.a)


def _non_negative(
    what: str, weight: Array, limits: Mapping[str, Any], a: formats.Arithmetic
) -> Comparison:
    below = np.maximum(-weight, 0.0)
    return Comparison("subject", what, weight, np.abs(weight), below, np.zeros_like(below))


def _max_norm(
    what: str, weight: Array, limits: Mapping[str, Any], a: formats.Arithmetic
) -> Comparison:
    """Columns are scaled to this norm at most; a norm, a quotient and a product are rounded.

    Squares that underflow are missing in the norm: √(c² + η) is at most c + η/2c, and c + √η.
    """
    most, lost = float(limits.get("max_value", 2)), len(weight) * a.min_normal
    norm = np.sqrt(np.square(weight).sum(axis=0))
    bound = formats.gamma(len(weight) + 6, a.u_stored) * most
    bound = np.full_like(
        norm, bound + min(math.sqrt(lost), lost / (2 * most) if most else math.inf)
    )
    above = np.maximum(norm - most, 0.0)
    return Comparison("subject", what, norm, np.full_like(norm, most), above, bound)


_Held = Callable[[str, Array, Mapping[str, Any], formats.Arithmetic], Comparison]
_CONSTRAINTS: dict[str, _Held] = {
    "NonNeg": _non_negative,
    "MaxNorm": _max_norm,
}


class OneUpdate(FitOnce, frozen=True, kw_only=True):
    """Holds: the loss and the weights after one step of SGD belong to one dropout mask.

    One sample; rates 0, 0.5, 0.75, 0.875. Of a SimpleRNN, LSTM or GRU that stands alone.
    """

    layers = "any"
    questions = ("one_update",)

    def underived(self, run: Experiment) -> str:
        if [isinstance(layer, Recurrent) for layer in run.layers] == [True]:
            return ""
        return f"{self.what} is derived of {any_of(FAMILIES)} that stands alone, only"

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if run.x is None or run.x.shape[0] != 1:
            yield "one sample"
        rates = (run.rnn.dropout, run.rnn.recurrent_dropout)
        if not all(r is msgspec.UNSET or float(r) in (0, 0.5, 0.75, 0.875) for r in rates):
            yield "dropout rates of 0.5, 0.75 or 0.875, whose scale 1/(1 - p) is exact"
        elif run.x is not None and _drawn(run.rnn, run.x.shape[-1]) > MOST_DRAWN:
            yield f"masks of {MOST_DRAWN} numbers at most, those of each gate counted"

    def spoils(self, run: Experiment) -> list[Path]:
        return [("one_update", "loss"), ("one_update", "after", "*", "*"), ("one_update", "output")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """One step of SGD in fit: its loss and its gradients belong to one and the same mask.

        What mask was drawn cannot be seen from outside, but for one sample there are few: all of
        them are tried, and the one that explains the numbers best is held against them. A mask on
        the state scales the rows of the recurrent kernel, one on the input those of the kernel,
        the same at all timesteps: of all gates, or of each gate its own. Afterwards, in inference,
        nothing is dropped.

        A loss that is scaled has gradients that may overflow. Then no step is taken, of any weight.
        """
        told, layer, features = case.said["one_update"], case.claim.rnn, case.x.shape[-1]
        before, after = (
            {name: own[name].shaped(s) for name, s in layer.weight_shapes(features).items()}
            for own in (told[when][layer.name] for when in ("before", "after"))
        )
        loss, scale = told["loss"].number, 1.0
        if case.policy.computed_in == "float16":
            scale = _scale(told)
        elif "scale" in told:
            times = f"{float(told['scale'].number):.17g}"
            yield equal("subject", "what the loss is multiplied by", times, "1")
        changed = any((bits(before[name]) != bits(after[name])).any() for name in before)
        best, least = list[Comparison](), math.inf
        for mask in _masks(layer, features):
            each = _explained(case, loss, before, after, mask, scale, changed)
            first = next(each)  # of the loss, which few of the masks explain
            if best and first.ratio >= least:
                continue
            explained = [first, *each]
            if (worst := max(c.ratio for c in explained)) < least or not best:
                best, least = explained, worst
            if least <= 1:
                break
        if scale != 1 and not changed and any(np.isinf(c.bound).any() for c in best[1:]):
            raise Unproved(f"a gradient {scale:,.0f} times as large may overflow: no step is taken")
        yield from best
        moved_at_least = zip(before.values(), best[1:], strict=True)
        if any((np.abs(c.expected - w) > c.bound).any() for w, c in moved_at_least):
            # not where all was dropped, or a gradient is below half a unit of what it is taken from
            yield equal("subject", "something was trained", yes(changed), "yes")
        a = formats.arithmetic(case.dtype)
        signal = stack.Signal.exactly(case.x, a, case.claim.mask)
        call = stack.Call(stack.exactly(after, a), signal, stack.starts(case.claim, a))
        shown = layer.passed(call).out.number
        what, got = "output in inference afterwards", told["output"].array
        yield stack.bounded(what, got, shown, "subject")


def _scale(told: Said) -> float:
    """What the loss was multiplied by; records of earlier versions hold none that was scaled."""
    scale = float(told["scale"].number) if "scale" in told else 1.0
    if not (0 < scale < math.inf and math.frexp(scale)[0] == 0.5):
        raise Malformed(f"one_update.scale: expected a power of two, got {scale}")
    return scale


MOST_DRAWN = 10  # numbers of all masks, so that there are 1,024 at most


def _rates(layer: Recurrent) -> list[float]:
    """Of the input, and of the state."""
    rates = (layer.dropout, layer.recurrent_dropout)
    return [0.0 if isinstance(rate, msgspec.UnsetType) else float(rate) for rate in rates]


def _drawn(layer: Recurrent, features: int) -> int:
    """How many numbers are drawn, if each gate has masks of its own."""
    sizes = zip(_rates(layer), (features, layer.units), strict=True)
    return layer.gates * sum(size for rate, size in sizes if rate)


def _masks(layer: Recurrent, features: int) -> Iterator[tuple[Array, Array]]:
    """Every pair of masks, (F,GH) and (H,GH), that dropout can draw for one sample, scaled: what
    multiplies the kernels. The same of all gates comes first."""
    kinds = [1] if layer.gates == 1 else [1, layer.gates]
    for of_input, of_state in itertools.product(kinds, repeat=2):
        choices = []
        pairs = zip(_rates(layer), (features, layer.units), (of_input, of_state), strict=True)
        for p, size, gates in pairs:
            values = (0.0, 1 / (1 - p)) if p else (1.0,)
            masks = itertools.product(values, repeat=size * gates)
            choices.append(
                [_over_gates(np.reshape(drawn, (gates, size)), layer) for drawn in masks]
            )
        yield from itertools.product(*choices)


def _over_gates(mask: Array, layer: Recurrent) -> Array:
    """(1,R) or (G,R) as what each column of a kernel (R,GH) is multiplied by."""
    each = np.broadcast_to(mask, (layer.gates, mask.shape[1]))
    return np.repeat(each.T, layer.units, axis=1)


def _explained(
    case: Case,
    loss: Array,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    masks: tuple[Array, Array],
    scale: float,
    changed: bool,
) -> Iterator[Comparison]:
    """Loss and weights after the step, if these masks (F,GH) and (H,GH) were drawn.

    Their scales are powers of two, so that applying them rounds nothing. Nor does that of the loss,
    by which its gradient is multiplied before it goes back, and divided afterwards. If any of what
    goes back may overflow, no weight need have changed.
    """
    claim, a, layer = case.claim, formats.arithmetic(case.dtype), case.claim.rnn
    assert claim.loss is not None
    scales = dict(zip(("kernel", "recurrent_kernel"), masks, strict=True))
    wide: dict[str, Any] = {name: weight.astype(np.float64) for name, weight in before.items()}
    run: dict[str, Any] = {
        **wide, **layer.functions, "arithmetic": a, "x": case.x, "mask": claim.mask,
        "go_backwards": layer.option("go_backwards"),
        "initial_state": [start.value for start in stack.starts(claim, a)] or None,
        **{name: scale * wide[name] for name, scale in scales.items()},
    }  # fmt: skip
    ran = running.Running(layer.recurrence, **run)
    states = ran.states["h"]
    target, sequence = claim.loss.value.value, claim.rnn.option("return_sequences")
    shown = given_to_loss(states if sequence else states.each(last_of), case.policy.loss_in)
    wanted = loss_of_kept("mse", target, shown, None)
    wanted = wanted.off_by(2.0**-24 * np.abs(wanted.value))  # reported in float32
    yield stack.bounded("loss of the step", loss, wanted, "own")
    back = losses.running_loss_gradient("mse", target, *shown, arithmetic=shown.a)
    cotangent = Bounded(*back, a).times(scale)
    if not sequence:
        cotangent = cotangent.each(lambda part: at_the_end(part, states.value.shape[1]))
    if (cotangent.most > a.max).any():
        cotangent = cotangent.off_by(np.inf)
    gradients, errors = ran.gradients({"h": cotangent.value}, {"h": cotangent.error})
    overflows = not all(np.isfinite(getattr(errors, name)).all() for name in wide)
    kept = formats.arithmetic(case.policy.kept_in)  # in which the step is taken
    for name, weight in wide.items():
        by = LEARNING_RATE / scale * scales.get(name, np.ones(()))
        with np.errstate(invalid="ignore", over="ignore"):
            step, off = (by * getattr(each, name) for each in (gradients, errors))
        off[np.isnan(off)] = np.inf  # what is dropped, times what may have overflowed
        if scale != 1 and overflows and not changed:
            off = np.full_like(off, np.inf)
        ended = _taken(weight, step, off, kept)
        yield stack.bounded(f"{name} after the step", after[name], ended)
