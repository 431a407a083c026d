"""How do another framework's arrays stand in Keras's?

What torch and ONNX call W multiplies from the left, holds its gates in another order, and has two
biases. Where Keras has one, the second is one feature more, which is 1 at every step: no number is
rounded on the way, and a sum of as many terms is what is bounded.

    B batch, T timesteps, F features, H units, G gates
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.numbers.arrays import numbers
from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import GRU_BEFORE, Recurrence, is_listed

LAYOUTS = ("keras", "time_major", "torch", "torch_batch_first", "onnx")
# of the recurrences that they have, where Keras's gates stand in theirs
_GATES: dict[str, dict[str, tuple[int, ...]]] = {
    "torch": {"simple": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)},
    "onnx": {"simple": (0,), "lstm": (0, 2, 3, 1), "gru": (0, 1, 2)},
}
_IN_TIME = ("states", "cell_states", "x", "mask")
_COTANGENTS = ("cotangent", "cotangent_error", "cell_cotangent")
SECOND_BIAS = "second_bias"  # the gradient of one that is added to the first


@dataclass(frozen=True)
class Layout:
    """One of LAYOUTS, for a recurrence. Raises ValueError for any other."""

    name: str
    recurrence: Recurrence

    def __post_init__(self) -> None:
        if self.name not in LAYOUTS:
            raise ValueError(f"layout is {self.name!r}, but should be one of {', '.join(LAYOUTS)}")
        has = _GATES.get(self.family)
        listed = is_listed(self.recurrence)
        if has is not None and not (listed and self.recurrence.name in has):
            raise ValueError(
                f"layout={self.name!r} is of {', '.join(has)}, and recurrence is "
                f"{'' if listed else 'your own '}{self.recurrence.name!r}"
            )
        if self.family == "torch" and self.recurrence is GRU_BEFORE:
            raise ValueError('a GRU of layout="torch" has reset_after=True')

    @property
    def family(self) -> str:
        return self.name.partition("_")[0]

    def keras(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `certify` as Keras has them.

        Of states (T,B,H), or of ONNX (T,1,B,H), become (B,T,H); weights (GH,F) and (GH,H), of ONNX
        with a 1 in front, become (F,GH) and (H,GH). bias: None, a pair, its two rows, or of ONNX
        (1,2GH). A second one that is added to the first is a feature more of x.
        """
        if self.name == "keras":
            return dict(given)
        found = {name: self._in_time(name, given) for name in _IN_TIME if name in given}
        found = dict(given) | found
        if self.family == "time":
            return found
        for name in ("kernel", "recurrent_kernel"):
            found[name] = self._gates(name, self._alone(name, given[name], 2), -2).swapaxes(-1, -2)
        found["initial_state"] = self._start(given.get("initial_state"))
        return self._with_biases(found)

    def gradients(self, observed: Mapping[str, Any]) -> dict[str, Any]:
        """Gradients as Keras has them, each in the shape of what it is the gradient of.

        delta has the gates of the kernel's columns, or rows, along its last axis. Of a pair of
        biases, of which the second is added to the first, it is SECOND_BIAS.
        """
        if self.name == "keras":
            return dict(observed)
        found = dict(observed)
        for name in ("delta", "x"):
            if name in found:
                found[name] = self._in_time(name, found)
        if self.family == "time":
            return found
        if "delta" in found:
            found["delta"] = self._gates("delta", numbers("delta", found["delta"]), -1)
        for name in ("kernel", "recurrent_kernel"):
            if name in found:
                alone = self._alone(name, found[name], 2)
                found[name] = self._gates(name, alone, -2).swapaxes(-1, -2)
        if "bias" in found:
            biases = [self._gates("bias", b, -1) for b in self._biases(found.pop("bias"))]
            if self.recurrence.biases == 2:
                found["bias"] = np.stack(biases)
            else:
                found |= dict(zip(("bias", SECOND_BIAS), biases, strict=False))
        start = self._start(found.pop("initial_state", None))
        if isinstance(start, tuple):
            found |= dict(zip(("initial_state", "initial_cell_state"), start, strict=False))
        elif start is not None:
            found["initial_state"] = start
        return found

    def cotangents(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Of the states, and as many, as Keras has them."""
        if self.name == "keras":
            return dict(given)
        return {name: self._in_time(name, given) for name in _COTANGENTS}

    def _in_time(self, name: str, given: Mapping[str, Any]) -> Any:
        array = given[name]
        if array is None:
            return array
        if self.name == "torch_batch_first":
            last = name == "cell_states" and self._is_last(array, given["states"])
            return self._alone(name, array, 2) if last else array
        read = numbers(name, array)
        if self.name == "onnx" and read.ndim == 4:
            if read.shape[1] != 1:
                raise ValueError(f"{name} has shape {read.shape}: certify one direction at a time")
            read = read[:, 0]
        if name == "cell_states" and read.ndim == 3 and len(read) == 1:
            return read[0]  # the last alone, as c_n and Y_c are
        return read.swapaxes(0, 1) if read.ndim > 1 else read

    def _is_last(self, cell_states: Any, states: Any) -> bool:
        """Whether they are (1,B,H), as c_n is, and not (B,T,H) of one sample."""
        c, h = numbers("cell_states", cell_states), numbers("states", states)
        return c.ndim == h.ndim == 3 and len(c) == 1 and c.shape[1] == len(h) and c.shape != h.shape

    def _alone(self, name: str, array: Any, axes: int) -> Array:
        """Without the axis of layers or directions, of which there is one."""
        read = numbers(name, array)
        if read.ndim == axes + 1:
            if len(read) != 1:
                raise ValueError(f"{name} has shape {read.shape}: certify one direction at a time")
            read = read[0]
        return read

    def _gates(self, name: str, array: Array, axis: int) -> Array:
        order = _GATES[self.family][self.recurrence.name]
        if array.ndim < -axis or array.shape[axis] % len(order):
            raise ValueError(
                f"{name} has shape {array.shape}, but should have {len(order)} gates of H units "
                f'along its {"first" if axis == -2 else "last"} axis, as layout="{self.name}" has'
            )
        parts = np.split(array, len(order), axis=axis)
        return np.concatenate([parts[at] for at in order], axis=axis)

    def _start(self, given: Any) -> Any:
        if given is None:
            return None
        if len(self.recurrence.states) > 1 and isinstance(given, (list, tuple)):
            return tuple(self._alone("initial_state", part, 2) for part in given)
        return self._alone("initial_state", given, 2)

    def _biases(self, given: Any) -> list[Array]:
        """As they are, one or two of (GH,)."""
        if given is None:
            return []
        if isinstance(given, Sequence) and len(given) == 2 and np.ndim(numbers("bias", given[0])):
            return [numbers("bias", part) for part in given]
        read = numbers("bias", given)
        if self.family == "onnx":
            read = self._alone("bias", read, 1)
            return list(np.split(read, 2)) if read.ndim == 1 and not len(read) % 2 else [read]
        return list(read) if read.ndim == 2 and len(read) == 2 else [read]

    def _with_biases(self, found: dict[str, Any]) -> dict[str, Any]:
        biases = [self._gates("bias", each, -1) for each in self._biases(found.get("bias"))]
        two = self.recurrence.biases == 2
        if len(biases) < 2:
            found["bias"] = biases[0] if biases else None
            if biases and two:
                raise ValueError("bias should hold two arrays, of the input and of the state")
            return found
        if two:
            return found | {"bias": np.stack(biases)}
        x, kernel = numbers("x", found["x"]), found["kernel"]
        if x.ndim != 3 or kernel.ndim != 2 or kernel.shape[1] != len(biases[1]):
            return found | {"bias": biases[0]}  # what does not fit is said by who reads it
        ones = np.ones((*x.shape[:2], 1), x.dtype if x.dtype.kind == "f" else np.float64)
        return found | {
            "x": np.concatenate([x, ones], axis=2),
            "kernel": np.concatenate([kernel, biases[1][None]]),
            "bias": biases[0],
        }
