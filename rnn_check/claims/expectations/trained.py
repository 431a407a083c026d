"""What of a whole training is derived, and where does it end?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np

from rnn_check.certificates.drawn import MOST, Drawing, Rates
from rnn_check.claims.expectations.case import Case, Unproved
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import (
    AnyLayer,
    Dense,
    Embedding,
    Layer,
    Masking,
    Recurrent,
    TimeDistributed,
)
from rnn_check.claims.layers.cells import Recurrence
from rnn_check.claims.layers.layer import described, penalizes_outputs
from rnn_check.claims.layers.signal import Call, Signal
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded
from rnn_check.recurrences import fitted, penalties
from rnn_check.recurrences.network import Network
from rnn_check.refusal import any_of
from rnn_check.subjects.asked.named import FAMILIES
from rnn_check.subjects.policy import Policy

T = TypeVar("T")
Reports = Literal["", "fit", "train_on_batch"]


class Parts(NamedTuple):
    """The layers of a training: what gives the mask, what carries states, what is linear."""

    before: Masking | Embedding | None
    rnn: Recurrent
    dense: Dense | TimeDistributed | None


def parts(run: Experiment) -> Parts | None:
    """None if the layers are others."""
    before, rest = run.layers[0], list(run.layers)
    if isinstance(before, Masking | Embedding):
        del rest[0]
    rnn, dense = rest[0] if rest else None, rest[1] if len(rest) > 1 else None
    if not isinstance(rnn, Recurrent) or len(rest) > 2:
        return None
    if not isinstance(dense, Dense | TimeDistributed | None):
        return None
    return Parts(before if isinstance(before, Masking | Embedding) else None, rnn, dense)


def _parts(run: Experiment) -> Parts:
    found = parts(run)
    assert found is not None
    return found


def underived(what: str, run: Experiment) -> str:
    """Why no whole training of such layers is derived; empty if it is."""
    if parts(run) is None:
        return (
            f"{what} of a training is derived of {any_of(FAMILIES)}, alone or between Masking or "
            "an Embedding and a Dense layer, only"
        )
    return ""


def missing(run: Experiment) -> Iterator[str]:
    """What a whole training needs beyond its tables."""
    if run.training is None:
        yield "training"
    if run.initial_state is not None or run.mask is not None:
        yield "an input without initial_state and mask"
    if run.training is not None and run.is_stateful and run.x is not None:
        samples = len(run.x.value)
        if samples % (run.training.batch_size or max(samples, 1)):
            yield "a batch_size that divides the samples, as a stateful layer wants it"
    if (found := parts(run)) is not None:
        for layer in (found.before, found.dense):
            if (
                layer is not None
                and layer.weight_shapes(1)
                and layer.name not in (run.weights or {})
            ):
                yield f"weights.{layer.name}"


def unjudged(what: str, run: Experiment, drawn: bool = False) -> str:
    """Why nobody can judge a whole training yet.

    drawn: whether it can where few masks can have been drawn.
    """
    if drawn and (rates := rates_of(run)) is not None and (why := _undrawn(what, run, rates)):
        return why
    for layer in run.layers:
        for name in ("dropout", "recurrent_dropout"):
            rate = getattr(layer, name, msgspec.UNSET)
            if rate is not msgspec.UNSET and rate and not drawn:
                return f"{what} of a training with {name} depends on what is drawn"
        if not layer.is_trainable and any(of_layer(layer, "regularizer")):
            return f"{what} of a training with regularizers of frozen weights is not derived"
        for constraint in of_layer(layer, "constraint"):
            if constraint[1].get("axis", 0) != 0:
                return f"{what} of a training with norms along another axis is not derived"
        if layer.inner.option("stateful") and _skips_all(run):
            return f"{what} of a training of a stateful layer that skips all steps is not derived"
        if layer.inner.option("stateful") and penalizes_unbegun(run):
            return f"{what} of a training where steps before a state are penalized is not derived"
        if is_masked(run) and layer.is_recurrent:
            sequence = layer.inner.option("return_sequences")
            if sequence and layer.inner.option("go_backwards"):
                return f"{what} of a training on masked sequences that are reversed is not derived"
            if not sequence and layer.inner.option("zero_output_for_mask"):
                return f"{what} of a training on last outputs that may be zero is not derived"
    if not any(layer.is_trainable for layer in run.layers):
        return f"{what} of a training where everything is frozen is nothing"
    return ""


def rates_of(run: Experiment) -> Rates | None:
    """Of dropout, if anything is dropped."""
    rnn = _parts(run).rnn
    rates = (rnn.dropout, rnn.recurrent_dropout)
    found = Rates(*(0.0 if rate is msgspec.UNSET else float(rate) for rate in rates))
    return found if any(found) else None


def _undrawn(what: str, run: Experiment, rates: Rates) -> str:
    """Why not every mask that can have been drawn is tried; empty if it is."""
    found = _parts(run).rnn
    if not all(rate in (0, 0.5, 0.75, 0.875) for rate in rates):
        return f"{what} of a training with dropout is derived of rates of 0.5, 0.75 or 0.875 only"
    whole = network(run)
    samples = max(batch.stop - batch.start for batch in whole.batches)
    if Drawing(rates, samples, whole.features, found.units, found.gates).masks > MOST:
        return (
            f"{what} of a training whose batches can draw more than {MOST:,} masks is not derived"
        )
    return ""


def is_masked(run: Experiment) -> bool:
    """Whether its layers make a mask."""
    first = run.layers[0]
    return isinstance(first, Masking) or (
        isinstance(first, Embedding) and first.option("mask_zero")
    )


def _skips_all(run: Experiment) -> bool:
    """Whether a sample's last output may be that of a batch before it, or a zero."""
    if not is_masked(run) or run.x is None or run.loss is None:
        return False
    whole = network(run)
    assert whole.mask is not None
    return not whole.is_sequence and not whole.mask.any(axis=1).all()


def penalizes_unbegun(run: Experiment) -> bool:
    """Whether what a regularizer counts may be that of a batch before it, or a zero."""
    if not is_masked(run) or run.x is None or run.loss is None:
        return False
    whole = network(run)
    assert whole.mask is not None
    leads = whole.is_sequence and not whole.zeros and not whole.mask[:, 0].all()
    return leads and bool(whole.activities)


def embellished(run: Experiment) -> str:
    """What stands in a training beside the layers and the optimizer; empty if nothing does."""
    if run.sample_weight is not None:
        return "weights of samples"
    for layer in run.layers:
        for family in ("regularizer", "constraint"):
            for name, _ in of_layer(layer, family):
                return f"a {family} of {name}"
        if penalizes_outputs(layer):
            return "a regularizer of outputs"
        if not layer.is_trainable:
            return "frozen weights"
    return ""


def of_layer(layer: Any, family: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(weight, {"kind": class, its arguments}) of each that is given."""
    for part in ("kernel", "recurrent", "bias"):
        given = described(getattr(layer.inner, f"{part}_{family}", None))
        if given is not None:
            yield "recurrent_kernel" if part == "recurrent" else part, given


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
            one_bias = f"{any_of([layer.family])} that has one bias"
            return f"{what} of {one_bias}, where Keras trains two, is not derived"
    return ""


SCALE = 2.0**15  # of the loss in mixed_float16, as Keras has it to begin with


def unjudged_in(policy: Policy) -> str:
    """Losses of a float64 layer are computed in floatx; of weights kept in half precision what an
    optimizer makes is not derived."""
    if policy.name in ("float32", "floatx_float64") or policy.is_mixed:
        return ""
    return f"where a training in {policy.name} ends is not derived"


def loss_of_epoch(case: Case, epoch: int, arithmetic: str | None = None) -> Bounded:
    """() as fit reports it of an epoch, counted from 1, or from the end if negative."""
    return ended(case, arithmetic).loss.at(_index(epoch))


def told_of_epoch(case: Case, epoch: int) -> Array:
    """The same as the subject reported it."""
    assert case.claim.training is not None
    losses = case.said["trained"]["loss"].shaped((case.claim.training.epochs,))
    return np.asarray(losses[_index(epoch)])


def _index(epoch: int) -> int:
    return epoch - (epoch > 0)


def ended(case: Case, computed_in: str | None = None, reports: Reports = "") -> fitted.Trained:
    """Where the claim's training ends, in an arithmetic, or else as the subject trains it.

    reports: and what is said on the way by whom, of which fit validates.
    """
    if computed_in == "hand":
        raise Unproved("what is rounded by hand in a training is not derived")
    if computed_in is None:
        return case.once(_trained_in(case.policy.kept_in, reports, mixed(case.policy)))
    return case.once(_trained_in("exact" if computed_in == "real" else computed_in, reports, ""))


def mixed(policy: Policy) -> str:
    """What layers compute in that keep their weights in another arithmetic."""
    return policy.computed_in if policy.is_mixed else ""


def computed(whole: Network, mixed: str) -> Network:
    """The same in mixed precision; in half precision its loss is scaled."""
    return dataclasses.replace(whole, mixed=mixed, scale=SCALE if mixed == "float16" else 1.0)


@functools.cache  # one object for each arithmetic, by which a case knows what it has made
def _trained_in(
    arithmetic: str, reports: Reports, mixed: str
) -> Callable[[Experiment], fitted.Trained]:
    def ends(run: Experiment) -> fitted.Trained:
        assert run.training is not None and run.weights is not None
        own = {
            layer.name: {
                name: given.bounded(formats.arithmetic(arithmetic))
                for name, given in run.weights.get(layer.name, {}).items()
            }
            for layer in run.layers
            if layer.is_trainable
        }
        whole = computed(network(run), mixed)
        by_class = run.training.class_weight is not None
        validated = dataclasses.replace(whole, sample_weight=None) if by_class else whole
        return fitted.trained(
            whole, run.training.optimizer, by_name(run, own), run.training.epochs,
            arithmetic, validated if reports == "fit" else None, reports=bool(reports),
        )  # fmt: skip

    return ends


def network(run: Experiment) -> Network:
    """In the arithmetic of its weights; see `computed`."""
    assert run.x is not None and run.loss is not None
    before, layer, dense = _parts(run)
    given = Signal(run.x.bounded(formats.arithmetic("exact")))
    if isinstance(before, Masking):
        given = before.passed(Call({}, given)).out
    table, mask = None, given.mask
    if isinstance(before, Embedding):
        table = before.own_shapes(1)["embeddings"]
        mask = given.value != 0 if before.option("mask_zero") else None
    return Network(
        x=given.value,
        target=run.loss.value.value,
        embedding=table,  # type: ignore[arg-type]
        mask=mask,
        sample_weight=None if run.sample_weight is None else run.sample_weight.value,
        weight_error=0.0 if run.sample_weight is None else run.sample_weight.error,
        recurrence=layer.recurrence,
        **layer.functions,  # type: ignore[arg-type]
        dense_activation=dense.inner.function if dense else None,
        go_backwards=layer.option("go_backwards"),
        stateful=run.is_stateful,
        resets=run.training is not None and run.training.reset_states is True,
        batch_size=run.training.batch_size if run.training else None,
        error=given.error,
        regularizers={
            name: penalties.regularizer(**given) for name, given in _of_all(run, "regularizer")
        },
        constraints={
            name: penalties.constraint(**given) for name, given in _of_all(run, "constraint")
        },
        activities={
            "dense" if each is dense else "layer": penalties.regularizer(**penalty)
            for each in (layer, dense)
            if (penalty := _of_outputs(each)) is not None
        },
        returns_state=layer.returns_state,
        zeros=layer.option("zero_output_for_mask"),
        frozen=by_name(
            run,
            {
                layer.name: {
                    name: (given.value, given.error)
                    for name, given in (run.weights or {}).get(layer.name, {}).items()
                }
                for layer in run.layers
                if not layer.is_trainable
            },
        ),
    )


def _of_outputs(layer: Layer | None) -> dict[str, Any] | None:
    """{"kind": class, its arguments} of its activity_regularizer, if it has one."""
    return described(getattr(layer and layer.inner, "activity_regularizer", None))


def _of_all(run: Experiment, family: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same by what the training certificate calls the weights that are trained."""
    for layer in run.layers:
        prefix = prefix_of(run, layer)
        if layer.is_trainable:
            there = (run.weights or {}).get(layer.name, {})
            given = (each for each in of_layer(layer, family) if each[0] in there)
            yield from ((prefix + name, how) for name, how in given)


def prefix_of(run: Experiment, layer: AnyLayer) -> str:
    """What stands before the names of a layer's weights, as the training certificate has them."""
    return "dense." if layer is _parts(run).dense else ""


def by_name(run: Experiment, part: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """Weights layer by layer as the training certificate calls them."""
    prefix = {layer.name: prefix_of(run, layer) for layer in run.layers}
    return {
        prefix.get(layer, f"{layer}.") + name: array
        for layer, table in part.items()
        for name, array in table.items()
    }
