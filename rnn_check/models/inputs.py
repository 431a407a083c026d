"""What is somebody's model run on?"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check.claims.written import Array
from rnn_check.refusal import Refused, nearest

SAMPLES, TIMESTEPS, SEED = 4, 10, 1  # of a generated input, where any number will do


class InputError(Refused):
    """What a model cannot be run on."""


def read(file: Path, taken: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """The arrays of an .npy or .npz by the names of the model's inputs.

    taken: what the model says it takes (see the verb `inspect`); of nothing, any array will do.
    Raises InputError.
    """
    names = [str(each["name"]) for each in taken]
    try:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            with found:  # what is no array in the archive is given as bytes
                found = {name: np.asarray(found[name]) for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        why = getattr(error, "strerror", None) or "no array of numpy.save, and no .npz"
        raise InputError(f"--input: {file}: {why}") from None
    if isinstance(found, np.ndarray):
        if len(names) > 1:
            raise InputError(
                f"--input: {file}: one array, but the model takes {len(names)}: give an .npz "
                f"that holds {', '.join(names)}"
            )
        return {names[0] if names else "x": _numbers(file, "", found)}
    arrays = {name: _numbers(file, name, array) for name, array in found.items()}
    if len(names) == 1 and len(arrays) == 1:
        return dict(zip(names, arrays.values(), strict=True))
    for name in arrays:
        if names and name not in names:
            hint = nearest(name, names)
            raise InputError(f"--input: {file}: the model takes no {name!r}{hint}")
    if lacking := [name for name in names if name not in arrays]:
        raise InputError(f"--input: {file}: it lacks {', '.join(lacking)}, which the model takes")
    if not arrays:
        raise InputError(f"--input: {file}: it holds no array")
    return arrays


def _numbers(file: Path, name: str, array: Array) -> Array:
    if array.dtype.kind not in "fiub" or not array.ndim or not array.size:
        what = f"{name!r} is" if name else "it is"
        raise InputError(
            f"--input: {file}: {what} of dtype {array.dtype} and shape {array.shape}; expected "
            "numbers, samples along the first axis"
        )
    return array


def unlike(arrays: Mapping[str, Array], taken: Sequence[Mapping[str, Any]]) -> str:
    """Of which input the shape is not what the model says it takes; empty if there is none."""
    for each in taken:
        name, shape = str(each["name"]), list(each["shape"])
        given = arrays[name].shape if name in arrays else tuple(shape)
        if len(given) != len(shape) or any(
            n not in (None, m) for n, m in zip(shape, given, strict=True)
        ):
            takes = "×".join("any" if n is None else str(n) for n in shape)
            return f"its input {name} is {'×'.join(map(str, given))}, where it takes {takes}"
    return ""


def generated(
    where: str, taken: Sequence[Mapping[str, Any]], samples: int, timesteps: int, seed: int
) -> dict[str, Array]:
    """Normal numbers, or indices where an Embedding takes them; the end of the second sample is
    masked where a mask is made of the input. Raises InputError if the model does not say enough."""
    if not taken:
        raise InputError(f"{where}: it does not say what input it takes; --input gives one")
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for each in taken:
        name, shape = str(each["name"]), list(each["shape"])
        sizes = [samples if shape[0] is None else shape[0]]
        sizes += [timesteps if n is None and i == 0 else n for i, n in enumerate(shape[1:])]
        if len(sizes) < 2 or None in sizes:
            raise InputError(
                f"{where}: its input {name} has shape {tuple(shape)}, which leaves open more than "
                "samples and timesteps; --input gives one"
            )
        masked = each.get("masked")
        if "indices" in each:
            least = 1 if masked == 0 and each["indices"] > 1 else 0
            array = rng.integers(least, each["indices"], sizes)
        elif not str(each["dtype"]).startswith(("float", "bfloat")):
            array = rng.integers(0, 2, sizes)
        else:
            array = rng.normal(size=sizes).astype(np.float32)
        if masked is not None and len(array) > 1:
            array[1, -(-2 * sizes[1] // 3) :] = masked
        arrays[name] = array
    return arrays
