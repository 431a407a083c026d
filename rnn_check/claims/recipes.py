"""Which arrays can a claim name in place of writing them down?

A recipe is a table whose first key says what is made: what NumPy's function of that name makes, in
float64. How many numbers that are is counted before they are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rnn_check.claims.beside import MOST_AXES
from rnn_check.refusal import ClaimError, nearest

Array = npt.NDArray[np.float64]
MOST_DRAWN = 2.0**53  # what an integer that is drawn may be


class Reads(Protocol):
    """What a recipe needs of who reads the file."""

    def fail(self, key: str, problem: str) -> ClaimError: ...
    def number(self, v: Any, key: str) -> float: ...
    def count(self, numbers: int, key: str) -> None:
        """Before they are made. Raises ClaimError if they are too many."""

    def from_npz(self, name: Any, entry: Any, key: str) -> Array: ...


def made(node: dict[str, Any], key: str, read: Reads) -> Array:
    """The numbers of the recipe at `key`. Raises ClaimError for one that is none."""
    kind = next((k for k in RECIPES if k in node), None)
    if kind is None:
        raise read.fail(key, f"unknown recipe {sorted(node)}; known: {', '.join(RECIPES)}")
    needed, optional, make = RECIPES[kind]
    wanted = {kind, *needed, *optional}
    for k in node:
        if k not in wanted:
            raise read.fail(f"{key}.{k}", f"unknown key in a recipe `{kind}`{nearest(k, wanted)}")
    for k in needed:
        if k not in node:
            raise read.fail(key, f"the recipe `{kind}` needs the key `{k}` beside it")
    return make(node, key, read)


def _size(n: Any, key: str, read: Reads) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise read.fail(key, f"expected a positive integer, got {n!r}")
    return n


def _shape(node: dict[str, Any], key: str, read: Reads) -> tuple[int, ...]:
    shape = node["shape"]
    if not isinstance(shape, list) or not 0 < len(shape) <= MOST_AXES:
        raise read.fail(f"{key}.shape", f"expected 1 to {MOST_AXES} sizes, e.g. [2, 3]")
    return tuple(_size(n, f"{key}.shape", read) for n in shape)


def _arange(node: dict[str, Any], key: str, read: Reads) -> Array:
    sizes = _shape(node, key, read)
    n, count = _size(node["arange"], f"{key}.arange", read), math.prod(sizes)
    if n != count:
        raise read.fail(f"{key}.arange", f"{n} numbers do not fill the shape {list(sizes)}")
    read.count(count, f"{key}.shape")
    return np.arange(count, dtype=np.float64).reshape(sizes)


def _full(node: dict[str, Any], key: str, read: Reads) -> Array:
    sizes = _shape(node, key, read)
    read.count(math.prod(sizes), f"{key}.shape")
    return np.full(sizes, read.number(node["full"], f"{key}.full"))


def _linspace(node: dict[str, Any], key: str, read: Reads) -> Array:
    sizes = _shape(node, key, read)
    read.count(math.prod(sizes), f"{key}.shape")
    start, stop = _pair(node["linspace"], f"{key}.linspace", "[start, stop]", read)
    if not math.isfinite(stop - start):
        raise read.fail(f"{key}.linspace", "the distance of start and stop fits no float64")
    return np.linspace(start, stop, math.prod(sizes)).reshape(sizes)


def _pair(node: Any, key: str, wanted: str, read: Reads) -> tuple[float, float]:
    if not isinstance(node, list) or len(node) != 2:
        raise read.fail(key, f"expected {wanted}")
    return read.number(node[0], key), read.number(node[1], key)


def _identity(node: dict[str, Any], key: str, read: Reads) -> Array:
    n = _size(node["identity"], f"{key}.identity", read)
    times = read.number(node["times"], f"{key}.times")
    read.count(n * n, f"{key}.identity")
    return np.asarray(times * np.eye(n))


def _one_hot(node: dict[str, Any], key: str, read: Reads) -> Array:
    """A row with a 1 at each index, and one without any for -1."""
    depth = _size(node["depth"], f"{key}.depth", read)
    indices = _indices(node["one_hot"], f"{key}.one_hot", depth, read)
    read.count(indices.size * depth, f"{key}.depth")
    return np.asarray((indices[..., None] == np.arange(depth)).astype(np.float64))


def _indices(node: Any, key: str, depth: int, read: Reads) -> npt.NDArray[np.int64]:
    if isinstance(node, list):
        each = [_indices(part, f"{key}[{i}]", depth, read) for i, part in enumerate(node)]
        if not each:
            raise read.fail(key, "empty list; write at least one index")
        for i, part in enumerate(each):
            if part.shape != each[0].shape:
                problem = f"expected shape {each[0].shape} as its neighbours, got {part.shape}"
                raise read.fail(f"{key}[{i}]", problem)
        return np.stack(each)
    if not isinstance(node, int) or isinstance(node, bool) or not -1 <= node < depth:
        problem = f"expected an index from 0 to {depth - 1}, or -1 for a row of zeros, got {node!r}"
        raise read.fail(key, problem)
    return np.asarray(node)


def _npz(node: dict[str, Any], key: str, read: Reads) -> Array:
    return read.from_npz(node["npz"], node["key"], key)


# --- drawn numbers --------------------------------------------------------------------------------


def _random(node: dict[str, Any], key: str, read: Reads) -> Array:
    """What a function of a generator draws from a seed, after as many numbers of its own."""
    name = node["random"]
    if name not in _DRAWS:
        known = nearest(name, _DRAWS) if isinstance(name, str) else ""
        raise read.fail(
            f"{key}.random", f"unknown generator {name!r}{known}; known: {', '.join(_DRAWS)}"
        )
    generator, _, function = name.partition(".")
    seed, after = node["seed"], node.get("after", 0)
    for k, n, most in (("seed", seed, 2**32 - 1), ("after", after, 10**7)):
        if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= most:
            raise read.fail(f"{key}.{k}", f"expected an integer from 0 to {most}, got {n!r}")
    sizes = _shape(node, key, read)
    count = math.prod(sizes)
    read.count(count + after, f"{key}.shape")
    given = _arguments(node, key, name, read)
    times = read.number(node["times"], f"{key}.times") if "times" in node else 1.0
    made: Any = np.random.RandomState if generator == "RandomState" else np.random.default_rng
    drawn = getattr(made(seed), function)
    flat = drawn(count + after) if function in _PLAIN else drawn(*given, size=count + after)
    with np.errstate(over="ignore"):
        found = np.asarray(flat[after:], np.float64).reshape(sizes) * times
    if not np.isfinite(found).all():
        raise read.fail(key, "draws a number that fits no float64")
    return np.asarray(found)


def _arguments(node: dict[str, Any], key: str, name: str, read: Reads) -> tuple[Any, ...]:
    """low and high, or mean and deviation, of a function that takes them."""
    wanted = _DRAWS[name]
    if "args" not in node:
        if wanted.startswith("integers"):
            raise read.fail(f"{key}.args", f"required for {name}: [low, high)")
        return ()
    if not wanted:
        raise read.fail(f"{key}.args", f"{name} takes none; leave it out")
    one, other = _pair(node["args"], f"{key}.args", wanted, read)
    if wanted.startswith("integers"):
        whole = one == int(one) and other == int(other)
        if not (whole and -MOST_DRAWN <= one < other <= MOST_DRAWN):
            raise read.fail(f"{key}.args", "expected integers, the first below the second")
        return int(one), int(other)
    if wanted.startswith("[mean") and other < 0:
        raise read.fail(f"{key}.args", f"a deviation is not negative, got {other:g}")
    if not math.isfinite(other - one) or (wanted == "[low, high]" and other < one):
        raise read.fail(f"{key}.args", "expected low, and a high that is not below it")
    return one, other


_PLAIN = ("randn", "rand")  # which take sizes, and no size=
_DRAWS = {
    "RandomState.randn": "", "RandomState.standard_normal": "", "RandomState.rand": "",
    "RandomState.random_sample": "", "RandomState.normal": "[mean, deviation]",
    "RandomState.uniform": "[low, high]", "RandomState.randint": "integers [low, high)",
    "default_rng.standard_normal": "", "default_rng.random": "",
    "default_rng.normal": "[mean, deviation]", "default_rng.uniform": "[low, high]",
    "default_rng.integers": "integers [low, high)",
}  # fmt: skip

Make = Callable[[dict[str, Any], str, Reads], Array]
# what stands in one: the keys beside the first that it needs, those that it may have, what it makes
RECIPES: dict[str, tuple[tuple[str, ...], tuple[str, ...], Make]] = {
    "linspace": (("shape",), (), _linspace),
    "arange": (("shape",), (), _arange),
    "full": (("shape",), (), _full),
    "identity": (("times",), (), _identity),
    "one_hot": (("depth",), (), _one_hot),
    "random": (("seed", "shape"), ("args", "after", "times"), _random),
    "npz": (("key",), (), _npz),
}


def holds_a_recipe(node: Any) -> bool:
    """Whether a list has a recipe in it, however deep."""
    return isinstance(node, list) and any(
        isinstance(part, dict) or holds_a_recipe(part) for part in node
    )
