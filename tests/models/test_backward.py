"""Are gradients of a layer in a model judged by the layer's own cells, states and order?

Two linear cells on small integers: states and gradients are whole numbers, and exact in float32. Of
two steps the loss is of degree 2 at most in any one number, so that central differences of it,
in integers, are its gradients exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnn_check.models.backward import Back, unprobed
from rnn_check.models.places import Cell, Layer

B, T, F, UNITS = 2, 2, 2, (3, 2)
Arrays = dict[str, Any]  # of integers
GRADIENTS = ("delta", "x", "kernel", "recurrent_kernel", "bias", "initial_state")
PLACES = [(cell, name) for cell in range(len(UNITS)) for name in GRADIENTS]


def given() -> Arrays:
    """What the layer takes, in processing order; of z and into nothing, but their gradients."""
    rng, below = np.random.default_rng(3), (F, *UNITS)
    found: Arrays = {"x": rng.integers(-2, 3, (B, T, F)), "c shown": rng.integers(-2, 3, (B, T, 2))}
    for i, (n, H) in enumerate(zip(below, UNITS, strict=False)):
        shapes = {"kernel": (n, H), "recurrent_kernel": (H, H), "bias": (H,), "start": (B, H)}
        shapes["c state"] = (B, H)
        found |= {f"{i}.{name}": rng.integers(-2, 3, shape) for name, shape in shapes.items()}
        found[f"{i}.z"] = np.zeros((B, T, H), int)
        found[f"{i}.into"] = np.zeros((B, T, n), int)  # added to what a cell takes
    return found


def run(of: Arrays, mask: Any = None) -> tuple[int, list[Any]]:
    """The loss, and of each cell its states (B,T,H)."""
    below, shown, loss = of["x"], [], 0
    for i in range(len(UNITS)):
        h, each = of[f"{i}.start"], []
        for t in range(T):
            new = (below[:, t] + of[f"{i}.into"][:, t]) @ of[f"{i}.kernel"] + of[f"{i}.z"][:, t]
            new = new + h @ of[f"{i}.recurrent_kernel"] + of[f"{i}.bias"]
            h = new if mask is None else np.where(mask[:, t, None], new, h)
            each.append(h)
        below = np.stack(each, axis=1)
        shown.append(below)
        loss += (of[f"{i}.c state"] * h).sum()
    return loss + (of["c shown"] * below).sum(), shown


def gradient(of: Arrays, name: str, mask: Any = None) -> Any:
    found = np.zeros(of[name].shape, np.float32)
    for at in np.ndindex(found.shape):
        one = np.zeros(found.shape, int)
        one[at] = 1
        up, down = (run({**of, name: of[name] + sign * one}, mask)[0] for sign in (1, -1))
        assert (up - down) % 2 == 0
        found[at] = (up - down) // 2
    return found


class Seen:
    """A layer, its call, what the probe showed, and the model's own gradients of its weights."""

    def __init__(self, backwards: bool = False, mask: Any = None) -> None:
        of = given()
        _, shown = run(of, mask)
        turned = slice(None, None, -1 if backwards else 1)
        own = ("kernel", "recurrent_kernel", "bias")
        cells = [
            Cell(H, {"recurrence": "simple", "activation": "linear"},
                 {name: of[f"{i}.{name}"].astype(np.float32) for name in own}, f"{i}.")
            for i, H in enumerate(UNITS)
        ]  # fmt: skip
        self.layer = Layer("rnn", "RNN", "", cells, sequences=True, states=True,
                           backwards=backwards)  # fmt: skip
        self.wide = [gradient(of, f"{i}.{what}", mask) for i in range(2) for what in ("into", "z")]
        starts = [gradient(of, f"{i}.start", mask) for i in range(2)]
        self.weights = {n: gradient(of, n, mask) for i in range(2) for n in
                        (f"{i}.{name}" for name in own)}  # fmt: skip
        self.call: dict[str, Any] = {"x": of["x"].astype(np.float32)[:, turned],
                                     "d x": self.wide[0][:, turned]}  # fmt: skip
        if mask is not None:
            self.call["mask"] = mask[:, turned]
        for i, start in enumerate(starts):
            self.call[f"start {i}"] = of[f"{i}.start"].astype(np.float32)
            self.call[f"d start {i}"] = start
        cotangents = {f"state {i}": of[f"{i}.c state"].astype(np.float32) for i in range(2)}
        self.said: dict[str, Any] = {
            "shown": np.concatenate(shown, -1).astype(np.float32),
            "x": np.concatenate(self.wide, -1)[:, turned],
            "starts": [np.copy(start) for start in starts],
            "cotangents": {"shown": of["c shown"].astype(np.float32), **cotangents},
            "weights": {name: np.copy(array) for name, array in self.weights.items()},
        }

    def back(self) -> Back:
        return Back(self.layer, self.call, self.said, self.weights)

    def probed(self, cell: int, name: str) -> Any:
        """A view of where the probe shows a gradient."""
        if name == "initial_state":
            return self.said["starts"][cell]
        if name in ("x", "delta"):
            before = sum(part.shape[-1] for part in self.wide[: 2 * cell + (name == "delta")])
            width = self.wide[2 * cell + (name == "delta")].shape[-1]
            return self.said["x"][..., before : before + width]
        return self.said["weights"][f"{cell}.{name}"]

    def of_model(self, cell: int, name: str) -> Any:
        if name == "initial_state":
            return self.call[f"d start {cell}"]
        return self.call["d x"] if name == "x" else self.weights[f"{cell}.{name}"]


ENDS_EARLY = np.array([[True, True], [True, False]])
SEEN: dict[str, Callable[[], Seen]] = {
    "forwards": Seen,
    "backwards": lambda: Seen(backwards=True),
    "masked": lambda: Seen(mask=ENDS_EARLY),
}


@pytest.fixture(params=SEEN)
def seen(request: pytest.FixtureRequest) -> Seen:
    return SEEN[request.param]()


def test_exact_gradients_are_certified_and_those_of_the_model_are_the_same_bits(seen: Seen) -> None:
    found = seen.back().certified()
    assert [{*each} for each in found] == [{"steps", *GRADIENTS}] * 2
    assert all(c.ok for each in found for c in each.values())
    assert all(c.ratio == 0 for each in found for n, c in each.items() if n != "initial_state")
    same = list(seen.back().without_probe())
    assert {(cell, name) for cell, name, _ in same} == {*PLACES} - {(0, "delta"), (1, "delta"),
                                                                   (1, "x")}  # fmt: skip
    assert all(comparison is None for _, _, comparison in same)


@pytest.mark.parametrize(("cell", "name"), PLACES)
def test_one_number_that_is_off_is_found_in_its_gradient(seen: Seen, cell: int, name: str) -> None:
    array = seen.probed(cell, name)
    array[(0 if name == "delta" else -1,) * array.ndim] += 1
    found = seen.back().certified()
    assert found[cell][name].ok is False
    wrong = {(at, n) for at, each in enumerate(found) for n, c in each.items() if not c.ok}
    # what follows from it is judged by it: all of its cell; and of the cell below by its x
    assert all(at == cell or (name == "x" and at == cell - 1) for at, _ in wrong)


@pytest.mark.parametrize(("cell", "name"), [p for p in PLACES if p[1] != "delta" and p != (1, "x")])
def test_one_number_that_is_off_in_the_model_itself_is_found(
    seen: Seen, cell: int, name: str
) -> None:
    """And the others are still the same bits."""
    seen.of_model(cell, name)[..., -1] += 1
    compared = {(at, n): c for at, n, c in seen.back().without_probe() if c is not None}
    assert compared.keys() == {(cell, name)}
    assert not compared[cell, name].ok


@pytest.mark.parametrize("state", [0, 1])
def test_what_reaches_a_state_that_is_returned_counts(seen: Seen, state: int) -> None:
    seen.said["cotangents"][f"state {state}"][0, 0] += 1
    assert not seen.back().certified()[state]["delta"].ok


def test_the_order_of_what_is_read_backwards_counts() -> None:
    seen = Seen(backwards=True)
    seen.call["x"] = seen.call["x"][:, ::-1]
    found = seen.back().certified()
    assert not found[0]["steps"].ok and not found[0]["kernel"].ok
    assert all(c.ok for c in found[1].values())


def test_why_nothing_is_certified_is_said() -> None:
    seen = Seen()
    assert unprobed(seen.layer, seen.call, seen.said) == ""
    assert unprobed(seen.layer, seen.call, {"unsupported": "no"}) == "no"
    assert unprobed(seen.layer, seen.call, {"error": "worse"}) == "worse"
    masked = {**seen.call, "mask": np.array([[True] * T, [False] * T])}
    assert "masked from its first step to its last" in unprobed(seen.layer, masked, seen.said)
