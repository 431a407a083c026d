"""What does a training do: each update, what is frozen or constrained, where does it end?"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar

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
from rnn_check.claims.expectations.numbers import OfWeight, read_value
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import GRU, LSTM, Dense, Recurrent, SimpleRNN
from rnn_check.claims.layers.recurrent import Recurrence
from rnn_check.claims.layers.signal import Bounded, at_the_end
from rnn_check.claims.written import Array, Given
from rnn_check.numbers import formats
from rnn_check.recurrences import losses, running, training
from rnn_check.recurrences.kinds import SIMPLE
from rnn_check.subjects.policy import Policy

T = TypeVar("T")
LEARNING_RATE = 0.125  # of the one step of fit that is asked for; a power of two rounds nothing


# --- one step -------------------------------------------------------------------------------------


class FitOnce(Holds, frozen=True, kw_only=True):
    """What one step of fit does."""

    family: ClassVar[bool] = True
    needs = (X, WEIGHTS, MSE)

    def asks(self, run: Experiment) -> set[str]:
        return {"fit_once"}

    def tells(self) -> dict[str, Any]:
        return {"learning_rate": LEARNING_RATE}


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
    ran = running.running_bound(SIMPLE, **run)
    states, off = ran.states["h"]
    target, sequence = claim.loss.value.value, claim.rnn.option("return_sequences")
    shown = (states, off) if sequence else (states[:, -1], off[:, -1])
    shown, coarser = truth.given_to_loss(shown, arithmetic, case.policy.loss_in)
    told = "mse", target, *shown
    value, bound = losses.running_loss(*told, arithmetic=coarser)
    wanted = np.asarray(value), np.asarray(bound + 2.0**-24 * abs(value))  # reported in float32
    yield stack.bounded("loss of the step", loss, wanted, "own")
    cotangent, error = (
        part if sequence else at_the_end(part, states.shape[1])
        for part in losses.running_loss_gradient(*told, arithmetic=coarser)
    )
    gradients, errors = running.running_gradients(
        SIMPLE, **run, cotangents={"h": cotangent}, cotangent_errors={"h": error}
    )
    u = formats.arithmetic(arithmetic).u_stored
    for name, weight in wide.items():
        scale = on_state[:, None] if name == "recurrent_kernel" else 1.0
        step, off = (LEARNING_RATE * scale * getattr(each, name) for each in (gradients, errors))
        new = weight - step
        allowed = off + (formats.gamma(2, u) + 2.0**-52) * (np.abs(weight) + np.abs(step) + off)
        yield stack.bounded(f"{name} after the step", after[name], (new, allowed))


# --- a whole training -----------------------------------------------------------------------------


def underived(what: str, run: Experiment) -> str:
    """Why no whole training of such layers is derived; empty if it is."""
    first, *rest = run.layers
    if not isinstance(first, SimpleRNN | LSTM | GRU) or [type(r) for r in rest] not in (
        [],
        [Dense],
    ):
        return (
            f"{what} of a training is derived of a SimpleRNN, an LSTM or a GRU, alone or before a "
            "Dense layer, only"
        )
    return ""


def missing(run: Experiment) -> Iterator[str]:
    """What a whole training needs beyond its tables."""
    if run.training is None:
        yield "training"
    if run.rnn.option("return_sequences") or run.initial_state is not None or run.mask is not None:
        yield "a layer that returns its last output, without mask and state"
    if run.dense is not None and run.dense.name not in (run.weights or {}):
        yield f"weights.{run.dense.name}"


def unjudged(what: str, run: Experiment) -> str:
    """Why nobody can judge a whole training yet."""
    for layer in run.layers:
        for name in ("dropout", "recurrent_dropout"):
            rate = getattr(layer, name, msgspec.UNSET)
            if rate is not msgspec.UNSET and rate:
                return f"{what} of a training with {name} depends on what is drawn"
        for name in layer.options:
            if name.endswith(("_regularizer", "_constraint")) and is_given(getattr(layer, name)):
                return f"{what} of a training with a {name} is not derived"
        if not layer.is_trainable:
            return f"{what} of a training with frozen weights is not derived"
        if layer.inner.option("stateful"):
            return f"{what} of a training of a stateful layer is not derived"
    return ""


def is_given(option: Any) -> bool:
    return option is not msgspec.UNSET and option not in (None, "None")


class OfTraining(Expectation, frozen=True, kw_only=True):
    """What becomes of a whole training."""

    family: ClassVar[bool] = True

    layers = "any"
    needs = (X, WEIGHTS, MSE)

    def underived(self, run: Experiment) -> str:
        return underived(self.what, run)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        yield from missing(run)

    def unjudged(self, run: Experiment) -> str:
        return unjudged(self.what, run)


class Updates(OfTraining, Holds, frozen=True, kw_only=True):
    """Holds: each update of [training] follows from the one before."""

    def asks(self, run: Experiment) -> set[str]:
        return {"training"}

    def spoils(self, run: Experiment) -> list[Path]:
        assert run.training is not None
        parts = ("weights", *run.training.optimizer.states)
        return [("training", part, "*", "*") for part in parts]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Each update of the recorded training against the state before it."""
        run, recorded = case.claim, case.said["training"]
        assert run.training is not None and run.weights is not None and run.x is not None
        optimizer = run.training.optimizer
        start = {
            layer: {name: given.value for name, given in table.items()}
            for layer, table in run.weights.items()
        }
        found = given(
            updates.certify_training,
            _by_name(run, _tables(recorded["weights"])),
            {state: _by_name(run, _tables(recorded[state])) for state in optimizer.states},
            network=_network(run),
            optimizer=optimizer,
            iterations=recorded["iterations"].of(np.ndarray),
            loss=recorded["loss"].array,
            start=_by_name(run, start),
            dtype=case.dtype,
        )
        done, asked = np.asarray(found.updates), np.asarray(run.training.updates(len(case.x)))
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
        constants, wanted = recorded["optimizer"], dataclasses.asdict(optimizer)
        for name in [name for name, value in wanted.items() if isinstance(value, bool)]:
            yield equal("subject", name, yes(constants[name].flag), yes(wanted.pop(name)))
        got = np.asarray([constants[name].of(float) for name in wanted])
        expected = np.asarray(list(wanted.values()))
        bound = expected * formats.arithmetic(case.dtype).u
        names = ", ".join(wanted)
        yield Comparison("subject", names, got, expected, np.abs(got - expected), bound)


class TrainedWeights(OfTraining, OfWeight, frozen=True, kw_only=True):
    """Numbers, or with `not_run` none: what a training ended with."""

    value: tables.Numbers = None

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        epochs = run.training.epochs if run.training else 0
        if self.at.epoch not in (None, -1, epochs):
            yield f"training.epochs = {self.at.epoch}"

    def unjudged(self, run: Experiment) -> str:
        return super().unjudged(run) or other_biases(self.name, run)

    def unjudged_in(self, policy: Policy) -> str:
        return unjudged_in(policy)

    def reads(self, reading: Reading) -> dict[str, Any]:
        if self.value is None:
            if self.not_run:
                return {}
            raise reading.fail("value", "required key is missing")
        return super().reads(reading)

    def asks(self, run: Experiment) -> set[str]:
        return {"trained"}

    def spoils(self, run: Experiment) -> list[Path]:
        places = (run.gradients[name] for name in self.view(run).sources)
        return [("trained", "weights", layer.name, path) for layer, path in places]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """The author's numbers, and those that the same training by the subject ends with."""
        assert self.computed_in is not None
        run = case.claim

        def ends(computed_in: str) -> Callable[[str], Bounded]:
            weights = trained(case, computed_in).weights

            def of(name: str) -> Bounded:
                layer, path = run.gradients[name]
                return weights[path if layer is run.rnn else f"dense.{path}"]

            return of

        def told(name: str) -> Array:
            layer, path = run.gradients[name]
            return case.said["trained"]["weights"][layer.name][path].array

        yield self.word(case, self.as_written(run, ends(self.computed_in), weights=True))
        yield from self.seen_as_written(case, told, ends(case.dtype), weights=True)


def other_biases(what: str, run: Experiment) -> str:
    """Why what the author trains is not what Keras trains; empty if it is."""
    for layer in run.layers:
        if not isinstance(layer, Recurrence):
            continue
        written = run.written.get(layer.name, {})
        second = any(path.endswith("recurrent_bias") for path in written)
        keras = layer.own_shapes(1).get("bias", ())
        if second and len(keras) == 1:
            return f"{what} of two biases that are added, which learn twice, is not derived"
        one = [s for path, s in written.items() if path.endswith("bias")]
        if len(keras) == 2 and not second and not any(s[:1] == (2,) and len(s) == 2 for s in one):
            return f"{what} of a GRU that has one bias, where Keras trains two, is not derived"
    return ""


def unjudged_in(policy: Policy) -> str:
    """Losses of a float64 layer are computed in floatx; those of mixed precision are scaled."""
    if policy.name in ("float32", "floatx_float64"):
        return ""
    return f"where a training in {policy.name} ends is not derived"


def loss_of_epoch(case: Case, epoch: int, arithmetic: str) -> tuple[Array, Array]:
    """() as fit reports it of an epoch, counted from 1, or from the end if negative."""
    value, bound = trained(case, arithmetic).loss
    return value[_index(epoch)], bound[_index(epoch)]


def told_of_epoch(case: Case, epoch: int) -> Array:
    """The same as the subject reported it."""
    assert case.claim.training is not None
    losses = case.said["trained"]["loss"].shaped((case.claim.training.epochs,))
    return np.asarray(losses[_index(epoch)])


def _index(epoch: int) -> int:
    return epoch - (epoch > 0)


def trained(case: Case, computed_in: str) -> training.Trained:
    """Where the claim's training ends, in an arithmetic."""
    if computed_in == "hand":
        raise Unproved("what is rounded by hand in a training is not derived")
    return case.once(_trained_in("exact" if computed_in == "real" else computed_in))


@functools.cache  # one object for each arithmetic, by which a case knows what it has made
def _trained_in(arithmetic: str) -> Callable[[Experiment], training.Trained]:
    def ends(run: Experiment) -> training.Trained:
        assert run.training is not None and run.weights is not None
        own = {
            layer: {name: (given.value, given.error) for name, given in table.items()}
            for layer, table in run.weights.items()
        }
        return training.trained(
            _network(run), run.training.optimizer, _by_name(run, own), run.training.epochs,
            arithmetic,
        )  # fmt: skip

    return ends


class OrdinaryOutcome(Expectation, frozen=True, kw_only=True):
    """Numbers: they are among what the training ends with from random Dense weights."""

    of: Literal["loss", "predictions"]
    value: tables.Numbers
    at: At = At()

    layers = "plain"
    needs = (X, WEIGHTS, MSE, DENSE)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        yield from (need for need in missing(run) if not need.startswith("weights."))

    def unjudged(self, run: Experiment) -> str:
        if run.training and run.x and run.training.updates(len(run.x.value)) > run.training.epochs:
            return f"{self.what} of a training by several batches is not derived"
        return unjudged(self.what, run)

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
        optimizer=run.training.optimizer,
        epochs=run.training.epochs,
    )


def _network(run: Experiment) -> training.Network:
    assert run.x is not None and run.loss is not None
    layer = run.rnn
    return training.Network(
        x=run.x.value,
        target=run.loss.value.value,
        recurrence=layer.recurrence,
        **layer.functions,
        dense_activation=run.dense.function if run.dense else None,
        go_backwards=layer.option("go_backwards"),
        batch_size=run.training.batch_size if run.training else None,
        error=run.x.error,
    )


def _tables(said: Said) -> dict[str, dict[str, Array]]:
    return {layer: table.arrays() for layer, table in said.table()}


def _by_name(run: Experiment, part: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """Weights layer by layer as the training certificate calls them."""
    prefix = {run.rnn.name: "", **({run.dense.name: "dense."} if run.dense else {})}
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
