"""What was observed of an experiment, beside what is true of it?

`Case.said` reads an answer and checks that it is what it has to be: whatever a subject or a record
says, it is `Malformed` at worst.  Any other exception is a fault of rnn_check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from rnn_check.certificates.result import NotSeen
from rnn_check.claims import truth
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Masking
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.subjects.policy import Policy

T = TypeVar("T")


class Malformed(Exception):
    """What was answered is not what was asked for."""


class Unproved(Exception):
    """Nothing was wrong, but too little could be judged to say that it is right."""


class Unsupported(Exception):
    """What was answered says that the subject has no such thing."""


@dataclass(frozen=True)
class Said:
    """A part of what was answered: `said["stateful"]["states"][0].array`."""

    node: Any
    where: str = ""

    def __getitem__(self, key: str | int) -> Said:
        where = f"{self.where}.{key}".lstrip(".")
        kind: type = Mapping if isinstance(key, str) else list
        if not isinstance(self.node, kind):
            raise Malformed(f"{self.where}: expected {_WORDS[kind]}, got {_shown(self.node)}")
        node: Any = self.node
        try:
            return Said(node[key], where)
        except (KeyError, IndexError):
            raise Malformed(f"{where}: not answered") from None

    def __contains__(self, key: str) -> bool:
        return isinstance(self.node, Mapping) and key in self.node

    def of(self, kind: type[T]) -> T:
        """As it is, if it is of that type."""
        if not isinstance(self.node, kind) or (kind is int and isinstance(self.node, bool)):
            raise Malformed(f"{self.where}: expected {_WORDS[kind]}, got {_shown(self.node)}")
        return self.node

    @property
    def is_none(self) -> bool:
        return self.node is None

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, list)

    @property
    def array(self) -> Array:
        """An array of floats."""
        if isinstance(self.node, np.floating):
            return np.asarray(self.node)
        array = self.of(np.ndarray)
        if array.dtype.kind != "f":
            raise Malformed(f"{self.where}: expected floats, got {array.dtype}")
        return array

    def shaped(self, shape: tuple[int, ...], whole: bool = False) -> Array:
        """An array of floats of this shape; whole: of integers or flags as well."""
        array = self.of(np.ndarray) if whole else self.array
        if array.dtype.kind not in "fiub":
            raise Malformed(f"{self.where}: expected numbers, got {array.dtype}")
        if array.shape != shape:
            raise Malformed(f"{self.where}: expected shape {shape}, got {array.shape}")
        return array

    def states(self, *shapes: tuple[int, ...]) -> list[Array]:
        """Arrays of these shapes; one alone may have no list around it."""
        each = list(self) if self.is_list else [self]
        if len(each) != len(shapes):
            raise Malformed(f"{self.where}: expected {len(shapes)} states, got {len(each)}")
        return [said.shaped(shape) for said, shape in zip(each, shapes, strict=True)]

    @property
    def number(self) -> Array:
        """A float, or an array of one, of shape ()."""
        if isinstance(self.node, np.ndarray):
            return self.shaped(())
        return np.asarray(self.of(float))

    @property
    def text(self) -> str:
        return self.of(str)

    @property
    def flag(self) -> bool:
        return self.of(bool)

    @property
    def count(self) -> int:
        return self.of(int)

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """A shape."""
        each = list(self)
        return tuple(None if size.is_none else size.count for size in each)

    def __iter__(self) -> Iterator[Said]:
        """The parts of a list."""
        yield from (self[index] for index in range(len(self.of(list))))

    def table(self) -> Iterator[tuple[str, Said]]:
        """The parts of a table."""
        for key in self.of(dict):
            if not isinstance(key, str):
                raise Malformed(f"{self.where}: {_shown(key)} is no name")
            yield key, self[key]

    def arrays(self) -> dict[str, Array]:
        """A table of arrays."""
        return {name: part.array for name, part in self.table()}


_WORDS: dict[type, str] = {
    Mapping: "a table", dict: "a table", list: "a list", np.ndarray: "an array", str: "a word",
    bool: "true or false", int: "a number", float: "a number",
}  # fmt: skip


def _shown(node: Any) -> str:
    if isinstance(node, np.ndarray):
        return f"an array of {node.dtype}, {node.shape}"
    return f"{node!r:.100}"


def given(certificate: Callable[..., T], *arrays: Any, **options: Any) -> T:
    """What a certificate says of what was observed, which it refuses if that cannot be certified.

    It checks shapes and dtypes of what it is given, and raises ValueError or TypeError. That a
    state is hidden which it needs is nobody's fault.
    """
    try:
        return certificate(*arrays, **options)
    except NotSeen as hidden:
        raise Unproved(str(hidden)) from hidden
    except (ValueError, TypeError) as refused:
        raise Malformed(str(refused)) from refused


class Case:
    """An experiment beside what was observed.

    dtype: the arithmetic of the layers' steps under the subject's policy. derive: what should be.
    """

    def __init__(
        self,
        claim: Experiment,
        observed: Mapping[str, Any],
        policy: str,
        derive: Callable[[Experiment, str, str], truth.Truth] = truth.Truth,
    ) -> None:
        self.claim = claim
        self.derive = derive
        self.observed = observed
        self.policy = Policy(policy)
        self.said = Said(observed)
        self.dtype = self.policy.computed_in
        self._made: dict[Callable[[Experiment], Any], Any] = {}
        self._truths: dict[tuple[str, str], truth.Truth] = {}

    def truth(self, computed_in: str, loss_in: str = "") -> truth.Truth:
        key = (computed_in, loss_in)
        if key not in self._truths:
            self._truths[key] = self.derive(self.claim, *key)
        return self._truths[key]

    def once(self, make: Callable[[Experiment], T]) -> T:
        """What is made of the experiment, and takes long: for all that is expected of it."""
        if make not in self._made:
            self._made[make] = make(self.claim)
        found: T = self._made[make]
        return found

    @cached_property
    def x(self) -> Array:
        assert self.claim.x is not None
        return self.claim.x.value

    @cached_property
    def doubt(self) -> str:
        """Why what differs proves nothing; "" where it does."""
        first, x, a = self.claim.layers[0], self.claim.x, formats.arithmetic(self.dtype)
        if x is None or not isinstance(first, Masking) or not first.is_doubtful(x.value, a):
            return ""
        return f"not proved: {first.name} may take a step of subnormal numbers for zeros"

    @cached_property
    def read_back(self) -> dict[str, dict[str, Array]]:
        """The weights as the subject reads them back, layer by layer; of the right shapes."""
        said = self.said["weights"]
        found: dict[str, dict[str, Array]] = {}
        for layer in self.claim.layers:
            shapes = layer.weight_shapes(self.claim.features_of(layer))
            if shapes:
                own = said[layer.name]
                found[layer.name] = {name: own[name].shaped(s) for name, s in shapes.items()}
        return found

    @cached_property
    def weights(self) -> dict[str, dict[str, Array]]:
        """The weights that the subject ran on: as they read back, or else as they were given.

        What it says of them itself proves nothing, as it might keep others and follow those. So
        they have to be one of the two nearest to what was given in the dtype of weights (some cast
        twice), or 0 in place of a subnormal.
        """
        kept_in = self.policy.kept_in
        a, ran_on = formats.arithmetic(kept_in), {k: dict(v) for k, v in self.read_back.items()}
        for layer, table in (self.claim.weights or {}).items():
            for name, told in table.items():
                array = ran_on[layer][name]
                with np.errstate(invalid="ignore", over="ignore"):
                    off = np.abs(array.astype(np.float64) - told.value)
                    near = off <= 2 * a.u * np.abs(told.value) + a.min_normal
                    if not near.all():
                        ran_on[layer][name] = told.value.astype(at_least(array.dtype, kept_in))
        return ran_on


def at_least(dtype: np.dtype[Any], kept_in: str) -> np.dtype[Any]:
    """Weights kept in less than they should be are others. (NumPy has no bfloat16.)"""
    return np.promote_types(dtype, "float32" if kept_in == "bfloat16" else kept_in)
