"""Arrays from anywhere, as NumPy's: which arithmetic they claim, and whether they fit.

Tensors are known by what they can do, so that no framework is imported to read them.
"""

import math
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array, arithmetic, held, rounded

_KINDS = "fiub"  # floats, integers, booleans


def numbers(name: str, array: Any) -> Array:
    """Real numbers, of NumPy, TensorFlow, JAX, torch, or lists of any of these, in their own dtype.

    A tensor is copied off its device and its graph. Raises ValueError for everything else.
    """
    try:
        given = array if type(array) is np.ndarray else np.asarray(_plain(array))
    except _Refused as refused:
        raise ValueError(f"{name} {refused}") from None
    except Exception as error:  # whatever a framework raises for what is no array
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{name} cannot be read as an array of numbers: {why[0]}") from error
    if given.dtype.kind not in _KINDS and given.dtype != ml_dtypes.bfloat16:
        raise ValueError(f"{name} has dtype {given.dtype}, but should hold real numbers")
    return given


class _Refused(Exception):
    pass


def _plain(array: Any) -> Any:
    """What NumPy can read itself."""
    if isinstance(array, (list, tuple)):
        simple = set(map(type, array)) <= {float, int, bool}
        return array if simple else [_plain(each) for each in array]
    if isinstance(array, np.ma.MaskedArray):
        raise _Refused(
            "is a masked array, whose mask would be lost: pass its data, and which steps count as "
            "mask="
        )
    dtype = str(getattr(array, "dtype", ""))
    if dtype == "torch.bfloat16":  # NumPy has none of its own
        return array.float().numpy(force=True).astype(ml_dtypes.bfloat16)
    if dtype.startswith("torch."):
        return array.numpy(force=True)
    return array


@np.errstate(all="ignore")
def read(name: str, array: Any, a: Arithmetic | None = None) -> Array:
    """Real numbers; those that the arithmetic cannot hold are rounded to it, as frameworks do."""
    given = numbers(name, array)
    if a is None or _called(given.dtype) == a.name or a.u_stored == ARITHMETICS["float64"].u:
        return given
    if a.u_stored == ARITHMETICS["float32"].u:
        return given.astype(np.float32)
    return rounded(given, a)


@lru_cache(maxsize=2**5)
def _called(dtype: np.dtype[Any]) -> str:
    """NumPy puts the name together anew each time."""
    return str(dtype.name)


def claimed(dtype: Any, array: Array) -> Arithmetic:
    """The arithmetic of this dtype, if any is given, or else of the array.

    A name, or a dtype of NumPy, TensorFlow, JAX or torch, or a policy of Keras, whose mixed ones
    store weights in float32 and round them on the way in. Raises ValueError for any other.
    """
    if dtype is None:
        try:
            return arithmetic(_called(array.dtype))
        except ValueError as error:
            raise ValueError(
                f"no dtype is given, and the array's own says nothing: {error}"
            ) from error
    return arithmetic(_name(dtype).removeprefix("mixed_"))


def _name(dtype: Any) -> str:
    named = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    if isinstance(named, str):
        return named.removeprefix("torch.")
    if str(dtype).startswith("torch."):
        return str(dtype).removeprefix("torch.")
    try:
        return str(np.dtype(dtype).name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"dtype is {dtype!r}, but should be a dtype or its name") from error


def check(name: str, array: Array, shape: tuple[int | str, ...], because: str = "") -> None:
    """Raises ValueError if the array has another shape; a str stands for any size."""
    if array.shape == shape:
        return
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or size == want for size, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
        wanted += f": {because}" * bool(because)
        raise ValueError(f"{name} has shape {array.shape}, but should have {wanted}")


def of_one_dtype(*given: Any) -> list[Any]:
    """As arrays of the one dtype that holds them all: integers become float64. None stays None."""
    arrays = [None if a is None else np.asarray(a) for a in given]
    dtype = np.result_type(np.float16, *(a for a in arrays if a is not None))
    return [None if a is None else a.astype(dtype, copy=False) for a in arrays]


def narrower(array: Array) -> str | None:
    """The arithmetic with the fewest digits that holds all these numbers; None if their own has.

    None, too, where half of those digits would do: small integers tell nothing.
    """
    own = ARITHMETICS[array.dtype.name].u_stored
    for some in (array.reshape(-1)[: 2**12], array.reshape(-1)):  # most arrays show it soon
        value = some.astype(np.float64)
        value = value[np.isfinite(value)]
        for name in ("bfloat16", "float16", "float32"):
            a = ARITHMETICS[name]
            if own < a.u_stored and held(value, a).all():
                break
        else:
            return None
    digits = round(-math.log2(a.u_stored)) // 2
    return name if (np.ldexp(np.frexp(value)[0], digits) % 1 != 0).any() else None
