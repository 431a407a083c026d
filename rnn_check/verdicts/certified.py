"""With what single change would a certificate agree that says that something is wrong?

What was certified is written as the claim that it would be, and the causes that are known of
claims are tried on that (see `diagnosis`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rnn_check.asking.request import Answer
from rnn_check.certificates.asked import Asked
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.expectations.states import States
from rnn_check.claims.experiment import Loss
from rnn_check.claims.layers import AnyLayer
from rnn_check.claims.tables import Source
from rnn_check.claims.written import Array, Given
from rnn_check.subjects.asked.named import FAMILIES, layer_computing
from rnn_check.verdicts import diagnosis

_NAME = "layer"


def causes(asked: Asked) -> tuple[tuple[str, ...], str]:
    """What to say: each cause; or none, and why."""
    if asked.recurrence not in {family.recurrence for family in FAMILIES.values()}:
        return (), f"causes are looked for of {', '.join(FAMILIES)}, which a claim may name"
    found, why = diagnosis.of_claim(_claim(asked)) if asked.off else _of_subject(asked)
    return tuple(found[: diagnosis.MOST_NAMED]), why


def _of_subject(asked: Asked) -> tuple[list[str], str]:
    claim, observed = _claim(asked), dict[str, Any]()
    if asked.observed is None:
        arrays = {"kernel": asked.kernel, "recurrent_kernel": asked.recurrent_kernel}
        arrays |= {} if asked.bias is None else {"bias": asked.bias}
        observed = {"states": _floats(asked.states), "weights": {_NAME: arrays}}
    else:
        gradients = {n: _floats(g) for n, g in asked.observed.items() if n in claim.gradients}
        if not gradients:
            return [], "causes are looked for where the gradient of a weight is observed"
        observed = {"gradients": gradients}
    return diagnosis.of_subject(claim, Answer(observed=observed), asked.arithmetic)


def _floats(array: Array) -> Array:
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _claim(asked: Asked) -> Claim:
    options = {
        "kind": layer_computing(asked.recurrence), "name": _NAME,
        "units": len(asked.recurrent_kernel), "return_sequences": True,
        "use_bias": asked.bias is not None, **asked.options,
    }  # fmt: skip
    layer: AnyLayer = msgspec.convert(options, AnyLayer)
    weights = {
        name: _given(array, asked.off.get(name, 0.0))
        for name in ("kernel", "recurrent_kernel", "bias")
        if (array := getattr(asked, name)) is not None
    }
    start = None
    if asked.starts:
        each = [_given(s, asked.off.get("initial_state", 0.0)) for s in asked.starts]
        start = each[0] if len(each) == 1 else Given.stacked(each)
    second: Mapping[str, Given] = {}
    if asked.second is not None:
        second = {"bias": _given(asked.second, asked.off.get("bias", 0.0))}
    cotangent = asked.cotangent
    return Claim(
        layers=(layer,),
        weights={_NAME: weights},
        x=_given(asked.x, asked.off.get("x", 0.0)),
        input_shape=asked.x.shape[1:],
        initial_state=start,
        mask=asked.mask,
        loss=None if cotangent is None else Loss("cotangent", Given.exactly(cotangent)),
        second_biases={_NAME: second} if second else {},
        name=_NAME,
        file=Path(_NAME),
        title="",
        source=Source(document=""),
        expectations=_states(asked),
    )


def _states(asked: Asked) -> tuple[Expectation, ...]:
    """The states as somebody printed them, if they are known to some digits."""
    if not asked.off:
        return ()
    value = _given(asked.states.astype(np.float64), asked.off.get("states", 0.0))
    computed_in: Any = asked.arithmetic
    return (States(value=value, computed_in=computed_in, from_="what was given"),)


def _given(array: Array, off: float) -> Given:
    """Of a number that is known to some digits, which interval they claim."""
    return Given(array, np.full(array.shape, off), array - off, array + off)
