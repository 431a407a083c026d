"""What does a training do: each update, what is frozen or constrained, where does it end?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np

from rnn_check.certificates import outcomes, updates
from rnn_check.certificates.comparison import Comparison, bits, equal
from rnn_check.claims import stack, tables, truth
from rnn_check.claims.expectations.bitwise import moved, same, yes
from rnn_check.claims.expectations.case import Case, Said, Unproved, given
from rnn_check.claims.expectations.expectation import (
    DENSE,
    MSE,
    WEIGHTS,
    At,
    Expectation,
    Holds,
    Path,
    Reading,
    X,
)
from rnn_check.claims.expectations.numbers import read_value
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Recurrent
from rnn_check.claims.layers.signal import at_the_end
from rnn_check.claims.written import Array, Given
from rnn_check.numbers import formats
from rnn_check.recurrences import losses, running

LEARNING_RATE = 0.125  # of the one step of fit that is asked for; a power of two rounds nothing


# --- one step -------------------------------------------------------------------------------------


class FitOnce(Holds, frozen=True, kw_only=True):
    """What one step of fit does."""

    family: ClassVar[bool] = True
    needs = (X, WEIGHTS, MSE)

    def asks(self, run: Experiment) -> set[str]:
        return {"fit_once"}

    def tells(self) -> dict[str, Any]:
        return {"training": {"learning_rate": LEARNING_RATE}}


class Frozen(FitOnce, frozen=True, kw_only=True):
    """Holds: what is not trainable is not trained; needs `mse`."""

    layers = "any"

    def spoils(self, run: Experiment) -> list[Path]:
        frozen = [layer.name for layer in run.layers if not layer.is_trainable]
        return [("fit_once", "after", name, "*") for name in frozen]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """A step of fit changes what is trainable and nothing else."""
        told = case.said["fit_once"]
        changed = 0
        for layer in case.claim.layers:
            own = layer.name in told["trainable"]
            listed = [s.text for s in told["trainable"][layer.name]] if own else []
            weights = told["before"][layer.name].arrays() if layer.name in told["before"] else {}
            for name, before in weights.items():
                after = told["after"][layer.name][name].shaped(before.shape)
                is_named = f"{layer.name}.{name} is trainable"
                yield equal("subject", is_named, name in listed, layer.is_trainable)
                if layer.is_trainable:
                    changed += int(moved(before, after))
                else:
                    yield same(f"{layer.name}.{name} after fit", after, before)
        yield equal("subject", "something was trained", yes(changed > 0), "yes")


class Constrained(FitOnce, frozen=True, kw_only=True):
    """Holds: constraints hold after an update; needs `mse`."""

    layers = "any"

    def spoils(self, run: Experiment) -> list[Path]:
        return []  # a constraint leaves a range

    def judge(self, case: Case) -> Iterator[Comparison]:
        """After a step of fit the weights are changed, and as their constraints want them."""
        told = case.said["fit_once"]
        u = formats.arithmetic(case.dtype).u_stored
        for layer in case.claim.layers:
            weights = told["after"][layer.name].arrays() if layer.name in told["after"] else {}
            for name, after in weights.items():
                weight = name.rpartition(".")[2].removesuffix("_kernel")
                wanted = getattr(layer.inner, f"{weight}_constraint", None)
                if not isinstance(wanted, dict | str):
                    continue
                before = told["before"][layer.name][name].shaped(after.shape)
                what = f"{layer.name}.{name}"
                yield equal("subject", f"{what} was trained", yes(moved(before, after)), "yes")
                kind = wanted if isinstance(wanted, str) else wanted["kind"]
                limits = wanted if isinstance(wanted, dict) else {}
                yield _CONSTRAINTS[kind](f"{what} is {kind}", after.astype(np.float64), limits, u)


def _non_negative(what: str, weight: Array, limits: Mapping[str, Any], u: float) -> Comparison:
    below = np.maximum(-weight, 0.0)
    return Comparison("subject", what, weight, np.abs(weight), below, np.zeros_like(below))


def _max_norm(what: str, weight: Array, limits: Mapping[str, Any], u: float) -> Comparison:
    """Columns are scaled to this norm at most; a norm, a quotient and a product are rounded."""
    most = float(limits.get("max_value", 2))
    norm = np.sqrt(np.square(weight).sum(axis=0))
    bound = np.full_like(norm, formats.gamma(len(weight) + 6, u) * most)
    above = np.maximum(norm - most, 0.0)
    return Comparison("subject", what, norm, np.full_like(norm, most), above, bound)


_CONSTRAINTS: dict[str, Callable[[str, Array, Mapping[str, Any], float], Comparison]] = {
    "NonNeg": _non_negative,
    "MaxNorm": _max_norm,
}


class LossOfEvaluate(Holds, frozen=True, kw_only=True):
    """Holds: what evaluate returns, masked steps left out; needs `mse`."""

    layers = "any"
    needs = (X, WEIGHTS, MSE)

    def asks(self, run: Experiment) -> set[str]:
        return {"evaluate"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("evaluate", "loss")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """mse over the steps that the mask keeps, from the output that the subject predicted.

        See `truth.loss_of_kept`; Keras then averages it over batches, and reports it in float32.
        """
        told = case.said["evaluate"]
        run = case.claim
        assert run.loss is not None
        mask = stack.run(run, "float32")[-1].mask
        output = told["output"].shaped(run.output_shape).astype(np.float64)
        exactly = (output, np.zeros_like(output))
        to_loss, arithmetic = truth.given_to_loss(exactly, case.dtype, case.policy.loss_in)
        loss, bound = truth.loss_of_kept("mse", run.loss.value.value, *to_loss, mask, arithmetic)
        u = max(formats.arithmetic(arithmetic).u_stored, 2.0**-24)  # reported in float32
        reported = formats.gamma(6, u) * (loss + bound)
        wanted = np.asarray(loss), np.asarray(bound + reported)
        yield stack.bounded("loss of evaluate", told["loss"].number, wanted, "own")


class OneUpdate(FitOnce, frozen=True, kw_only=True):
    """Holds: the loss and the weights after one step of SGD belong to one dropout mask.

    One sample; rates 0, 0.5, 0.75, 0.875.
    """

    layers = "plain"

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if run.dense is not None:
            yield "a SimpleRNN that stands alone"
        if run.x is None or run.x.shape[0] != 1:
            yield "one sample"
        rates = (run.rnn.dropout, run.rnn.recurrent_dropout)
        if not all(r is msgspec.UNSET or float(r) in (0, 0.5, 0.75, 0.875) for r in rates):
            yield "dropout rates of 0.5, 0.75 or 0.875, whose scale 1/(1 - p) is exact"

    def asks(self, run: Experiment) -> set[str]:
        return {"one_update"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("one_update", "loss"), ("one_update", "after", "*", "*"), ("one_update", "output")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """One step of SGD in fit: its loss and its gradients belong to one and the same mask.

        What mask was drawn cannot be seen from outside, but for one sample there are few: all of
        them are tried, and the one that explains the numbers best is held against them. A mask (H,)
        on the state scales the rows of the recurrent kernel, one (F,) on the input its features,
        the same at all timesteps. Afterwards, in inference, nothing is dropped.
        """
        told, layer, features = case.said["one_update"], case.claim.rnn, case.x.shape[-1]
        before, after = (
            {name: own[name].shaped(s) for name, s in layer.weight_shapes(features).items()}
            for own in (told[when][layer.name] for when in ("before", "after"))
        )
        loss = told["loss"].number
        tried: list[tuple[float, int, list[Comparison]]] = []
        for mask in _masks(layer, features):
            explained = list(_explained(case, loss, before, after, mask))
            tried.append((max(c.ratio for c in explained), len(tried), explained))
        yield from min(tried)[2]
        changed = any((bits(before[name]) != bits(after[name])).any() for name in before)
        yield equal("subject", "something was trained", yes(changed), "yes")
        signal = stack.Signal.exactly(case.x, case.claim.mask)
        shown = layer.through(stack.exactly(after), signal, case.dtype)
        bounds, what = (shown.value, shown.error), "output in inference afterwards"
        yield stack.bounded(what, told["output"].array, bounds, "subject")


def _masks(layer: Recurrent, features: int) -> Iterator[tuple[Array, Array]]:
    """Every pair of masks, (F,) and (H,), that dropout can draw for one sample, scaled."""
    choices = []
    for rate, size in ((layer.dropout, features), (layer.recurrent_dropout, layer.units)):
        p = 0.0 if isinstance(rate, msgspec.UnsetType) else float(rate)
        values = (0.0, 1 / (1 - p)) if p else (1.0,)
        choices.append([np.array(drawn) for drawn in itertools.product(values, repeat=size)])
    yield from itertools.product(*choices)


def _explained(
    case: Case,
    loss: Array,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    masks: tuple[Array, Array],
) -> Iterator[Comparison]:
    """Loss and weights after the step, if these masks (F,) and (H,) were drawn.

    Their scales are powers of two, so that applying them rounds nothing.
    """
    claim, arithmetic = case.claim, case.dtype
    assert claim.loss is not None
    on_input, on_state = masks
    wide: dict[str, Any] = {name: weight.astype(np.float64) for name, weight in before.items()}
    run: dict[str, Any] = {
        **wide, **claim.recurrence, "arithmetic": arithmetic, "x": case.x * on_input,
        "recurrent_kernel": on_state[:, None] * wide["recurrent_kernel"],
    }  # fmt: skip
    ran = running.running_bound(**run)
    target, sequence = claim.loss.value.value, claim.rnn.option("return_sequences")
    shown = (ran.states, ran.bound) if sequence else (ran.states[:, -1], ran.bound[:, -1])
    shown, coarser = truth.given_to_loss(shown, arithmetic, case.policy.loss_in)
    told = "mse", target, *shown
    value, bound = losses.running_loss(*told, arithmetic=coarser)
    wanted = np.asarray(value), np.asarray(bound + 2.0**-24 * abs(value))  # reported in float32
    yield stack.bounded("loss of the step", loss, wanted, "own")
    cotangent, error = (
        part if sequence else at_the_end(part, ran.states.shape[1])
        for part in losses.running_loss_gradient(*told, arithmetic=coarser)
    )
    gradients, errors = running.running_gradients(**run, cotangent=cotangent, cotangent_error=error)
    u = formats.arithmetic(arithmetic).u_stored
    for name, weight in wide.items():
        scale = on_state[:, None] if name == "recurrent_kernel" else 1.0
        step, off = (LEARNING_RATE * scale * getattr(each, name) for each in (gradients, errors))
        new = weight - step
        allowed = off + (formats.gamma(2, u) + 2.0**-52) * (np.abs(weight) + np.abs(step) + off)
        yield stack.bounded(f"{name} after the step", after[name], (new, allowed))


# --- a whole training -----------------------------------------------------------------------------


def _trained_plainly(run: Experiment) -> Iterator[str]:
    """What a whole training needs beyond its tables."""
    if run.training is None:
        yield "training"
    if run.rnn.option("return_sequences") or run.initial_state is not None or run.mask is not None:
        yield "a layer that returns its last output, without mask and state"


def _not_adam(e: Expectation, run: Experiment) -> str:
    if run.training is None or run.training.optimizer == "Adam":
        return ""
    return f"{e.what} of training with {run.training.optimizer} is not derived here, only Adam's"


class Updates(Holds, frozen=True, kw_only=True):
    """Holds: each update of [training] follows from the one before."""

    layers = "plain"
    needs = (X, WEIGHTS, MSE, DENSE)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        yield from _trained_plainly(run)
        if run.dense is not None and run.dense.name not in (run.weights or {}):
            yield f"weights.{run.dense.name}"

    def unjudged(self, run: Experiment) -> str:
        return _not_adam(self, run)

    def asks(self, run: Experiment) -> set[str]:
        return {"training"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("training", part, "*", "*") for part in ("weights", "m", "v")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Each update of the recorded training against the state before it."""
        run, recorded = case.claim, case.said["training"]
        assert run.training is not None and run.weights is not None
        start = {
            layer: {name: given.value for name, given in table.items()}
            for layer, table in run.weights.items()
        }
        adam = updates.Adam(float(run.training.learning_rate))
        found = given(
            updates.certify_training,
            *(_by_name(run, _tables(recorded[part])) for part in ("weights", "m", "v")),
            network=_network(run),
            adam=adam,
            iterations=recorded["iterations"].of(np.ndarray),
            loss=recorded["loss"].array,
            start=_by_name(run, start),
            dtype=case.dtype,
        )
        done, asked = np.asarray(found.updates), np.asarray(run.training.epochs)
        missing = np.abs(done - asked)
        follow = f"each of {done:,} updates follows"
        if found.judged < 1:
            follow = f"{found.certified:,} of {done:,} updates follow; rounding hides the others"
        if found.ok is None and not missing:
            raise Unproved(found.reason)
        yield Comparison("step", "updates", done, asked, missing, 0 * missing, praise=follow)
        # what fails first comes first, as it is what the verdict quotes
        for q in sorted(found.quantities.values(), key=lambda q: q.name != found.where[1]):
            yield _updated(q)
        constants = recorded["optimizer"]
        told = [float(constants[f.name].of(float)) for f in dataclasses.fields(adam)]
        got, expected = np.asarray(told), np.asarray(dataclasses.astuple(adam))
        bound = expected * formats.arithmetic(case.dtype).u
        error = np.abs(got - expected)
        yield Comparison("subject", "learning rate, betas, epsilon", got, expected, error, bound)


class OrdinaryOutcome(Expectation, frozen=True, kw_only=True):
    """Numbers: they are among what the training ends with from random Dense weights."""

    of: Literal["loss", "predictions"]
    value: tables.Numbers
    at: At = At()

    layers = "plain"
    needs = (X, WEIGHTS, MSE, DENSE)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        yield from _trained_plainly(run)

    def unjudged(self, run: Experiment) -> str:
        return _not_adam(self, run)

    def reads(self, reading: Reading) -> dict[str, Any]:
        run = reading.experiment
        shape = None if run.is_stack or run.x is None else run.output_shape
        return read_value(self, () if self.of == "loss" else shape, reading)

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []

    def judge(self, case: Case) -> Iterator[Comparison]:
        """The author's number among those that random Dense layers end with."""
        drawn = getattr(case.once(draw), self.of)  # (D,...)
        places = self.places(drawn.shape[1:])
        drawn = np.stack([self.select(draw) for draw in drawn])
        value: Given = self.value
        found = [
            outcomes.place(*each)
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
            "claim", f"{self.of} among random draws", value.value, median, error, bound, *places,
            praise=held, against="their median",
        )  # fmt: skip


def draw(run: Experiment) -> outcomes.Outcomes:
    """What the training ends with from random Dense weights."""
    assert run.training is not None and run.weights is not None
    weights = run.weights[run.rnn.name]
    return outcomes.outcomes(
        _network(run),
        kernel=weights["kernel"].value,
        recurrent_kernel=weights["recurrent_kernel"].value,
        bias=weights["bias"].value if "bias" in weights else None,
        adam=updates.Adam(float(run.training.learning_rate)),
        epochs=run.training.epochs,
    )


def _network(run: Experiment) -> updates.Network:
    assert run.x is not None and run.loss is not None and run.dense is not None
    return updates.Network(
        x=run.x.value,
        target=run.loss.value.value,
        activation=run.rnn.function,
        dense_activation=run.dense.function,
        go_backwards=run.rnn.option("go_backwards"),
    )


def _tables(said: Said) -> dict[str, dict[str, Array]]:
    return {layer: table.arrays() for layer, table in said.table()}


def _by_name(run: Experiment, part: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Weights layer by layer as the training certificate calls them."""
    assert run.dense is not None
    prefix = {run.rnn.name: "", run.dense.name: "dense."}
    return {
        prefix.get(layer, f"{layer}.") + name: array
        for layer, table in part.items()
        for name, array in table.items()
    }


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
