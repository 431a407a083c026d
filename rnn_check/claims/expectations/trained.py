"""What of a whole training is derived, and where does it end?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np

from rnn_check.claims.expectations.case import Case, Unproved
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import GRU, LSTM, Dense, SimpleRNN
from rnn_check.claims.layers.cells import Recurrence
from rnn_check.claims.layers.layer import described
from rnn_check.claims.written import Array
from rnn_check.recurrences import penalties, training
from rnn_check.subjects.policy import Policy

T = TypeVar("T")


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
        if described(getattr(layer, "activity_regularizer", None)) is not None:
            return f"{what} of a training with an activity_regularizer is not derived"
        if not layer.is_trainable and any(of_layer(layer, "regularizer")):
            return f"{what} of a training with regularizers of frozen weights is not derived"
        averaged = run.training is not None and run.training.optimizer.use_ema
        if averaged and any(of_layer(layer, "constraint")):
            return f"{what} of a training with averages of constrained weights is not derived"
        for constraint in of_layer(layer, "constraint"):
            if constraint[1].get("axis", 0) != 0:
                return f"{what} of a training with norms along another axis is not derived"
        if layer.inner.option("stateful"):
            return f"{what} of a training of a stateful layer is not derived"
    if not any(layer.is_trainable for layer in run.layers):
        return f"{what} of a training where everything is frozen is nothing"
    return ""


def embellished(run: Experiment) -> str:
    """What stands in a training beside the layers and the optimizer; empty if nothing does."""
    for layer in run.layers:
        for family in ("regularizer", "constraint"):
            for name, _ in of_layer(layer, family):
                return f"a {family} of {name}"
        if not layer.is_trainable:
            return "frozen weights"
    return ""


def of_layer(layer: Any, family: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(weight, {"kind": class, its arguments}) of each that is given."""
    for part in ("kernel", "recurrent", "bias"):
        given = described(getattr(layer, f"{part}_{family}", None))
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
            return f"{what} of a GRU that has one bias, where Keras trains two, is not derived"
    return ""


def unjudged_in(policy: Policy) -> str:
    """Losses of a float64 layer are computed in floatx; those of mixed precision are scaled."""
    if policy.name in ("float32", "floatx_float64"):
        return ""
    return f"where a training in {policy.name} ends is not derived"


def loss_of_epoch(case: Case, epoch: int, arithmetic: str) -> tuple[Array, Array]:
    """() as fit reports it of an epoch, counted from 1, or from the end if negative."""
    value, bound = ended(case, arithmetic).loss
    return value[_index(epoch)], bound[_index(epoch)]


def told_of_epoch(case: Case, epoch: int) -> Array:
    """The same as the subject reported it."""
    assert case.claim.training is not None
    losses = case.said["trained"]["loss"].shaped((case.claim.training.epochs,))
    return np.asarray(losses[_index(epoch)])


def _index(epoch: int) -> int:
    return epoch - (epoch > 0)


def ended(case: Case, computed_in: str) -> training.Trained:
    """Where the claim's training ends, in an arithmetic."""
    if computed_in == "hand":
        raise Unproved("what is rounded by hand in a training is not derived")
    return case.once(_trained_in("exact" if computed_in == "real" else computed_in))


@functools.cache  # one object for each arithmetic, by which a case knows what it has made
def _trained_in(arithmetic: str) -> Callable[[Experiment], training.Trained]:
    def ends(run: Experiment) -> training.Trained:
        assert run.training is not None and run.weights is not None
        own = {
            layer.name: {
                name: (given.value, given.error) for name, given in run.weights[layer.name].items()
            }
            for layer in run.layers
            if layer.is_trainable
        }
        return training.trained(
            network(run), run.training.optimizer, by_name(run, own), run.training.epochs,
            arithmetic,
        )  # fmt: skip

    return ends


def network(run: Experiment) -> training.Network:
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
        regularizers={
            name: penalties.regularizer(**given) for name, given in _of_all(run, "regularizer")
        },
        constraints={
            name: penalties.constraint(**given) for name, given in _of_all(run, "constraint")
        },
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


def _of_all(run: Experiment, family: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same by what the training certificate calls the weights that are trained."""
    for layer in run.layers:
        prefix = "" if layer is run.rnn else "dense."
        if layer.is_trainable:
            there = (run.weights or {}).get(layer.name, {})
            given = (each for each in of_layer(layer, family) if each[0] in there)
            yield from ((prefix + name, how) for name, how in given)


def by_name(run: Experiment, part: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """Weights layer by layer as the training certificate calls them."""
    prefix = {run.rnn.name: "", **({run.dense.name: "dense."} if run.dense else {})}
    return {
        prefix.get(layer, f"{layer}.") + name: array
        for layer, table in part.items()
        for name, array in table.items()
    }
