"""Is dropout of gates that is wrong seen?  Layers in NumPy that drop, right and wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.written import Array
from rnn_check.refusal import ClaimError
from rnn_check.subjects.asked.session import Made, Session
from rnn_check.subjects.asked.wire import encode
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support.puppet import InThisProcess
from tests.support.sampling import thinned

GATES = {"LSTM": "ifco", "GRU": "zrh"}


def expit(z: Array) -> Array:
    small = np.exp(-np.abs(z))
    return np.where(z < 0, small, 1.0) / (1 + small)


class Dropping(Made):
    def __init__(self, spec: dict[str, Any], weights: dict[str, Array]) -> None:
        self.spec, self.weights = spec, weights
        self.generator = np.random.default_rng(spec.get("seed", 1))


class InNumPy(Session):
    """LSTM and GRU. fault: what is wrong with their dropout."""

    framework = "NumPy"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def make(self, layers: Any, input_shape: Any, weights: Any, copy: str = "") -> Dropping:  # type: ignore[override]
        (spec,) = layers
        if self.fault == "the seed is forgotten" and copy == "again":
            spec = {**spec, "seed": 8}
        return Dropping(spec, weights[spec["kind"].lower()])

    def run(
        self, of: Any, x: Array, training: bool, initial_state: Any = None, after: str = ""
    ) -> Any:  # type: ignore[override]
        spec, fault = of.spec, self.fault
        kind, rng = spec["kind"], of.generator
        units, gates = spec["units"], GATES[kind]
        start = np.zeros((2, len(x), units)) if initial_state is None else np.asarray(initial_state)
        h, c = start.astype(float) if start.ndim == 3 else (start.astype(float),) * 2
        linear = spec.get("activation") == "linear"
        act = (lambda z: z) if linear else np.tanh
        gate = (lambda z: z) if linear else expit
        biases = np.atleast_2d(of.weights["bias"].astype(float))
        kernels = np.split(of.weights["kernel"].astype(float), len(gates), axis=1)
        recurrent = np.split(of.weights["recurrent_kernel"].astype(float), len(gates), axis=1)
        b, *of_h = (np.split(each, len(gates)) for each in biases)
        rates = [spec.get(name, 0) for name in ("dropout", "recurrent_dropout")]
        if not training and fault != "in inference":
            rates = [0, 0]
        if fault == "twice the rate":
            rates = [min(2 * rate, 0.9) for rate in rates]

        def drawn() -> list[list[Array]]:
            """Scaled masks of inputs and states, gate by gate."""
            both = []
            for rate, width in zip(rates, (x.shape[-1], units), strict=True):
                shape = (1 if fault == "one for all samples" else len(x), width)
                scale = 1.0 if fault == "not scaled" else 1 / (1 - rate)
                each = [(rng.uniform(size=shape) >= rate) * scale for _ in gates]
                shared = not rates[1] if fault != "shared where not, and not where so" else rates[1]
                each = each[:1] * len(gates) if shared else each
                if fault == "the last gate not dropped":
                    each[-1] = np.ones(shape)
                both.append([np.broadcast_to(mask, (len(x), width)) for mask in each])
            return both

        if fault == "the same at the next call":
            rng = np.random.default_rng(spec.get("seed", 1))
        masks, shown = drawn(), []
        for t in range(x.shape[1]):
            if fault == "new at each step" and t:
                masks = drawn()
            x_t = x[:, t].astype(float)
            s = [x_t * m @ w + own for m, w, own in zip(masks[0], kernels, b, strict=True)]
            dropped = [h * m for m in masks[1]]
            if fault == "the carried state dropped":
                h, c = h * masks[1][0], c * masks[1][0]
            if kind == "LSTM":
                i, f, g, o = (z + d @ u for z, d, u in zip(s, dropped, recurrent, strict=True))
                c = gate(f) * c + gate(i) * act(g)
                h = gate(o) * act(c)
            else:
                own = of_h[0] if of_h else [0.0] * 3
                z, r = (gate(s[k] + dropped[k] @ recurrent[k] + own[k]) for k in (0, 1))
                inside = (dropped[2] if of_h else r * dropped[2]) @ recurrent[2] + own[2]
                h = z * h + (1 - z) * act(s[2] + (r * inside if of_h else inside))
            shown.append(h)
        return {"output": encode(np.stack(shown, axis=1).astype(np.float32))}


FOLDER = files.bundled() / "options" / "dropout"
CLAIMS = [
    c
    for name in ("gates", "gates_input", "gates_recurrent", "gates_reset_before", "gates_timesteps")
    for c in files.load_each(FOLDER / f"{name}.toml", name)
]


def verdicts(c: Claim, fault: str) -> set[str]:
    subject: Any = InThisProcess(InNumPy(fault))
    answer = request.ask(c, subject, request.Setting())
    assert not answer.error
    found = judge.judge(c, answer)
    return {v.verdict for v in found}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("c", CLAIMS, ids=lambda c: c.name)
def test_dropout_of_gates_as_keras_has_it_agrees(c: Claim) -> None:
    assert verdicts(c, "") == {AGREE}


@thinned(12)
@pytest.mark.parametrize("c", CLAIMS, ids=lambda c: c.name)
@pytest.mark.parametrize(
    "fault",
    [
        "new at each step", "not scaled", "twice the rate", "in inference", "one for all samples",
        "the last gate not dropped", "the same at the next call",
    ],
)  # fmt: skip
def test_dropout_of_gates_that_is_wrong_differs(c: Claim, fault: str) -> None:
    if c.name.startswith("gates_timesteps") and fault in (
        "not scaled",
        "the last gate not dropped",
    ):
        pytest.skip("of timesteps it is asked which inputs are dropped, of the candidate alone")
    assert DIFFER in verdicts(c, fault)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("c", CLAIMS, ids=lambda c: c.name)
def test_a_fault_of_one_option_differs_where_that_is_given(c: Claim) -> None:
    layer: Any = c.layers[0]
    where = {
        "the seed is forgotten": layer.seed is not msgspec.UNSET,
        "the carried state dropped": layer.recurrent_dropout is not msgspec.UNSET,
        "shared where not, and not where so": any(
            getattr(e, "masks", msgspec.UNSET) is not msgspec.UNSET for e in c.expectations
        ),
    }
    for fault, is_seen in where.items():
        assert (DIFFER in verdicts(c, fault)) is is_seen, fault


def test_of_a_rate_that_drops_next_to_nothing_nothing_is_said() -> None:
    text = (FOLDER / "gates_input.toml").read_text(encoding="utf-8")
    for rate in ("0", "0.001", "0.999"):
        for c in files.loads_each(text.replace("= 0.25", f"= {rate}"), "a.toml"):
            assert verdicts(c, "") == {NOT_RUN}


def test_masks_are_claimed_of_gates_alone() -> None:
    text = (FOLDER / "simple_rnn.toml").read_text(encoding="utf-8")
    text = text.replace('of    = "input"', 'of    = "input"\nmasks = "one for all gates"')
    with pytest.raises(ClaimError, match="needs a layer with gates"):
        files.loads_each(text, "a.toml")
