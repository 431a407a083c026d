"""A session without a framework that computes whatever recurrence has a definition, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnn_check.recurrences import gated, kinds
from rnn_check.subjects.asked.named import FAMILIES, layer_of, named
from rnn_check.subjects.asked.parts import STATES
from rnn_check.subjects.asked.session import Made, Session, Unsupported
from rnn_check.subjects.asked.wire import encode

Array = np.typing.NDArray[Any]
Weights = dict[str, Array]


class _Made(Made):
    def __init__(self, specs: list[dict[str, Any]], weights: dict[str, Weights]) -> None:
        self.specs, self.weights = specs, weights


class _Ran:
    """A layer that has run: what it shows, the states that it ends with, and the way back."""

    def __init__(
        self, spec: dict[str, Any], weights: Weights, x: Array, start: list[Array]
    ) -> None:
        self.parts = _parts(spec)
        inner = spec.get("layer") or spec.get("cell") or spec
        self.sequence = (spec.get("layer") or spec).get("return_sequences", False)
        family = FAMILIES[layer_of(inner["kind"])]
        r = kinds.recurrence(family.recurrence, inner.get("reset_after") is not False)
        how = {"activation": inner.get("activation", "tanh")}
        self.runs: list[gated.Run] = []
        for index, prefix in enumerate(self.parts):
            own = {n[len(prefix) :]: a for n, a in weights.items() if n.startswith(prefix)}
            at = slice(index * family.states, (index + 1) * family.states)
            backwards = prefix == "backward." or bool(spec.get("go_backwards"))
            self.runs.append(
                gated.forward(
                    r, x, own["kernel"], own["recurrent_kernel"], own.get("bias"),
                    initial_state=start[at] or None, go_backwards=backwards, **how,
                )
            )  # fmt: skip
        self.states = self._merged([run.states["h"] for run in self.runs])
        ends = [run.states[name][:, -1] for run in self.runs for name in r.states]
        self.ends = ends if (spec.get("layer") or spec).get("return_state") else []
        last = np.concatenate([run.states["h"][:, -1] for run in self.runs], axis=-1)
        self.output = self.states if self.sequence else last

    def _merged(self, each: list[Array]) -> Array:
        """Of directions side by side, the second in the order of the input."""
        turned = [a[:, ::-1] if i else a for i, a in enumerate(each)]
        return np.concatenate(turned, axis=-1)

    def back(self, cotangent: Array) -> tuple[Array, Weights, list[Array]]:
        """dL/d of x, of the weights and of the initial states."""
        if not self.sequence:
            whole = np.zeros(self.states.shape, cotangent.dtype)
            whole[:, -1] = cotangent
            H = cotangent.shape[-1] // len(self.runs)
            if len(self.runs) > 1:  # what reads backwards ends at the first step of the input
                whole[:, -1, H:], whole[:, 0, H:] = 0, cotangent[:, H:]
            cotangent = whole
        of_x, weights, starts = np.zeros_like(self.runs[0].x.swapaxes(0, 1)), Weights(), []
        sides = np.split(cotangent, len(self.runs), axis=-1)
        for index, (prefix, run) in enumerate(zip(self.parts, self.runs, strict=True)):
            side = sides[index][:, ::-1] if index else sides[index]
            found = gated.backward({"h": side}, run)
            of_x = of_x + found.x
            own = {"kernel": found.kernel, "recurrent_kernel": found.recurrent_kernel}
            own |= {} if run.arrays[2] is None else {"bias": found.bias}
            weights |= {prefix + name: a for name, a in own.items()}
            starts += found.initial_state
        return of_x, weights, starts


def _parts(spec: dict[str, Any]) -> list[str]:
    return ["forward.", "backward."] if "layer" in spec else [""]


class Defined(Session):
    """It has layers that recur, alone, over their cells and side by side, and no masks.

    spoil: what becomes of an output.
    """

    framework = "a definition"

    def __init__(self, spoil: Callable[[Array], Array] = lambda shown: shown) -> None:
        self.spoil = spoil

    def make(
        self, layers: Any, weights: Any = None, like: Any = None, below: Any = None, **_: Any
    ) -> Any:
        given = like.weights if weights is None else weights
        own = {n: {p: a.astype(np.float32) for p, a in of.items()} for n, of in given.items()}
        for name, rows in (below or {}).items():
            for path, array in rows.items():
                whole = np.concatenate([own[name][path], array.astype(np.float32)])
                own[name] = own[name] | {path: whole}
        return _Made(named(layers), own)

    def weights(self, of: Any, after: str = "", optimizer: str = "") -> dict[str, Any]:
        each = {n: {p: encode(a) for p, a in own.items()} for n, own in of.weights.items()}
        return {"weights": each, "trainable": {name: [*own] for name, own in each.items()}}

    def summary(self, of: Any) -> dict[str, Any]:
        layers = []
        for spec in of.specs:
            size = sum(array.size for array in of.weights[spec["name"]].values())
            counts = {"parameters": size, "trainable": size, "non_trainable": 0}
            layers.append({"name": spec["name"], "kind": spec["kind"], **counts})
        totals = ("parameters", "trainable", "non_trainable")
        return {"layers": layers, **{n: sum(each[n] for each in layers) for n in totals}}

    def _ran(self, of: Any, x: Array, initial_state: Any, mask: Any) -> list[_Ran]:
        if mask is not None:
            raise Unsupported("no masks")
        start = [] if initial_state is None else [*np.atleast_3d(initial_state)]
        if initial_state is not None and initial_state.ndim == 2:
            start = [initial_state]
        found: list[_Ran] = []
        for spec in of.specs:
            given = found[-1].output if found else x
            begun = [array.astype(np.float32) for array in start]
            weights = of.weights[spec["name"]]
            found.append(_Ran(spec, weights, given.astype(np.float32), begun))
            start = []
        return found

    def run(
        self, of: Any, x: Any, initial_state: Any = None, mask: Any = None,
        keep: Any = ("output",), **_: Any,
    ) -> dict[str, Any]:  # fmt: skip
        ran = self._ran(of, x, initial_state, mask)
        ends = [encode(end) for end in ran[0].ends]
        said = {
            "output": encode(self.spoil(ran[-1].output)),
            "states": encode(ran[0].states),
            "last_state": ends[0] if len(ends) == 1 else ends,
            "layers": [encode(self.spoil(each.output)) for each in ran],
            "masks": [None] * len(ran),
            "beside": [encode(end) for end in ran[-1].ends],
        }
        return {name: said[name] for name in keep}

    def gradients(
        self, of: Any, loss: Any, wrt: Any, x: Any, initial_state: Any = None, mask: Any = None,
        keep: Any = (), last: Any = None, **_: Any,
    ) -> dict[str, Any]:  # fmt: skip
        ran = self._ran(of, x, initial_state, mask)
        handed = loss["value"].astype(np.float32)
        if last:  # of a sequence, whose last step is what the loss is of
            handed = np.zeros_like(ran[-1].output)
            handed[:, -1] = loss["value"]
        shown = {"output": ran[-1].output, "states": ran[0].states}
        said: dict[str, Any] = {name: encode(shown[name]) for name in keep}
        said |= {"loss": encode((ran[-1].output * handed).sum()), "weights": {}}
        starts: list[Array] = []
        for spec, each in zip(reversed(of.specs), reversed(ran), strict=True):
            handed, weights, starts = each.back(handed)
            said["weights"][spec["name"]] = {p: encode(a) for p, a in weights.items()}
        said |= {"x": encode(handed)} if "x" in wrt else {}
        return said | {name: encode(a) for name, a in zip(STATES, starts, strict=False)}
