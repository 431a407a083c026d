"""Does a certificate that says that something is wrong name the mistake that was planted?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn_check import certify, certify_gradients
from rnn_check.plugin import asserting
from rnn_check.recurrences import gated
from rnn_check.recurrences.kinds import recurrence

B, T, F, H = 2, 5, 3, 3
GATES = {"simple": 1, "lstm": 4, "gru": 3}


def layer(kind: str = "simple", **more: Any) -> dict[str, Any]:
    """What a layer is given, in float32; no two numbers alike."""
    rng, G = np.random.default_rng(7), GATES[kind]
    shapes = {"x": (B, T, F), "kernel": (F, G * H), "recurrent_kernel": (H, G * H)}
    shapes["bias"] = (2, G * H) if kind == "gru" else (G * H,)
    given = {n: rng.normal(size=s).astype(np.float32) / 2 for n, s in shapes.items()}
    return given | {"recurrence": kind} | more


def states(given: dict[str, Any], **changed: Any) -> Any:
    """(B,T,H), computed in float32 with some of it changed."""
    run = {**given, **changed}
    start = run.get("initial_state")
    start = start if start is None or isinstance(start, tuple) else (start,)
    found = gated.forward(
        recurrence(run["recurrence"]), *(run[n] for n in ("x", "kernel", "recurrent_kernel")),
        run["bias"], activation=run.get("activation", "tanh"), initial_state=start,
        mask=run.get("mask"),
    )  # fmt: skip
    return found.states["h"]


def turned(given: dict[str, Any], name: str) -> Any:
    """A kernel of which each gate's is transposed."""
    parts = np.split(given[name], GATES[given["recurrence"]], axis=-1)
    return np.concatenate([part.T for part in parts], axis=-1)


MASK = np.array([[True, True, False, True, False], [True, False, True, True, True]])
START = np.random.default_rng(8).normal(size=(B, H)).astype(np.float32)
MISTAKES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "recurrent_kernel": ({}, lambda g: {"recurrent_kernel": turned(g, "recurrent_kernel")},
                         "recurrent_kernel is transposed"),
    "kernel": ({}, lambda g: {"kernel": turned(g, "kernel")}, "kernel is transposed"),
    "exchanged": ({}, lambda g: {"kernel": g["recurrent_kernel"], "recurrent_kernel": g["kernel"]},
                  "kernel and recurrent_kernel are exchanged"),
    "no bias": ({}, lambda g: {"bias": 0 * g["bias"]}, "bias is dropped"),
    "bias twice": ({}, lambda g: {"bias": 2 * g["bias"]}, "bias is doubled"),
    "start": ({"initial_state": START}, lambda g: {"initial_state": None},
              "initial state is ignored"),
    "mask": ({"mask": MASK}, lambda g: {"mask": None}, "mask is ignored"),
    "activation": ({}, lambda g: {"activation": "relu"}, "activation is relu"),
    "time": ({}, lambda g: {"x": g["x"][:, ::-1]}, "time is reversed"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_what_was_certified_is_named(name: str) -> None:
    more, change, words = MISTAKES[name]
    given = layer(**more)
    found = certify(states(given, **change(given)), **given)
    assert found.ok is False
    assert words in found.causes, (found.causes, found.no_cause)
    assert found.no_cause == ""
    right = certify(states(given), **given)
    assert (right.ok, right.causes, right.no_cause) == (True, (), "")


def test_the_cause_is_shown_in_notebooks_and_by_a_failing_test() -> None:
    given = layer()
    seen = states(given, recurrent_kernel=given["recurrent_kernel"].T)
    words = "agrees if recurrent_kernel is transposed"
    assert words in (certify(seen, **given)._repr_html_() or "")
    with pytest.raises(AssertionError, match=f"\n  cause     {words}\n"):
        asserting.certify(seen, **given)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_mistake_in_a_layer_with_gates_is_named(kind: str) -> None:
    given = layer(kind)
    for name in ("recurrent_kernel", "no bias"):
        _, change, words = MISTAKES[name]
        found = certify(states(given, **change(given)), **given)
        assert found.ok is False and words in found.causes, (found.causes, found.no_cause)


def test_what_has_no_cause_says_so() -> None:
    given = layer()
    drawn = np.random.default_rng(9).normal(size=(B, T, H)).astype(np.float32) / 9
    found = certify(drawn, **given)
    assert found.ok is False and found.causes == ()
    assert "no one change that is known here" in found.no_cause


def test_one_entry_is_named_with_what_it_should_be() -> None:
    given = layer()
    wrong = given["kernel"].copy()
    wrong[1, 2] = -wrong[1, 2]
    found = certify(states(given, kernel=wrong), **given)
    assert found.causes and found.causes[0].startswith(f"kernel[1][2] is {wrong[1, 2]:.4g}"[:19])


def test_the_second_of_torchs_biases_is_named_where_it_was_left_out() -> None:
    given, second = layer(), np.array([0.5, -0.25, 0.125], np.float32)
    torch = {
        "x": given["x"], "kernel": given["kernel"].T, "recurrent_kernel":
        given["recurrent_kernel"].T, "bias": (given["bias"], second),
        "layout": "torch_batch_first",
    }  # fmt: skip
    found = certify(states(given), **torch)
    assert found.ok is False
    assert any("bias" in cause for cause in found.causes), (found.causes, found.no_cause)
    assert certify(states(given, bias=given["bias"] + second), **torch).ok


def test_a_mistake_in_printed_numbers_is_named() -> None:
    given = layer()
    told = {n: np.round(a.astype(np.float64), 4) for n, a in given.items() if n != "recurrence"}
    seen = np.round(states(given, recurrent_kernel=given["recurrent_kernel"].T), 6)
    found = certify(seen, **told, dtype="float32", reading={"weights": 4, "x": 4, "states": 6})
    assert found.ok is False and found.causes == ("recurrent_kernel is transposed",)


def test_a_mistake_in_gradients_is_named() -> None:
    rng = np.random.default_rng(3)
    given = layer()
    h = states(given).astype(np.float64)
    cotangent = rng.normal(size=h.shape).astype(np.float32)
    U = given["recurrent_kernel"].astype(np.float64)

    def observed(back: Any) -> dict[str, Any]:
        delta, later = np.zeros_like(h), np.zeros((B, H))
        for t in reversed(range(T)):
            delta[:, t] = (cotangent[:, t] + later) * (1 - h[:, t] ** 2)
            later = delta[:, t] @ back
        before = np.concatenate([np.zeros((B, 1, H)), h[:, :-1]], axis=1)
        found = {
            "delta": delta, "kernel": np.einsum("btf,bth->fh", given["x"], delta),
            "recurrent_kernel": np.einsum("btg,bth->gh", before, delta),
        }  # fmt: skip
        return {n: a.astype(np.float32) for n, a in found.items()}

    asked = {"cotangent": cotangent, "states": h.astype(np.float32), **given}
    found = certify_gradients(observed(U), **asked)
    assert found["delta"].ok is False
    words = "δ is handed on through recurrent_kernel in place of its transpose"
    assert found["delta"].causes == (words,), found["delta"].no_cause
    right = certify_gradients(observed(U.T), **asked)
    assert all(each.ok and not each.causes for each in right.values())
