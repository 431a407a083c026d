"""Are arrays of the frameworks read as what they are?"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from rnn_check.certificates.public import certify, certify_projected
from rnn_check.numbers import arrays
from rnn_check.numbers.formats import ARITHMETICS
from tests.numbers.test_arrays import LAYER, STATES, arguments


def makers() -> dict[str, Any]:
    """By framework: what makes its array of a NumPy one, and the same in bfloat16."""
    import jax.numpy as jnp
    import tensorflow as tf
    import torch

    return {
        "numpy": (np.asarray, lambda a: a.astype(ml_dtypes.bfloat16)),
        "torch": (torch.tensor, lambda a: torch.tensor(a).bfloat16()),
        "torch, trained": (
            lambda a: torch.nn.Parameter(torch.tensor(a)),
            lambda a: torch.nn.Parameter(torch.tensor(a).bfloat16()),
        ),
        "jax": (jnp.asarray, lambda a: jnp.asarray(a, jnp.bfloat16)),
        "tensorflow": (tf.constant, lambda a: tf.cast(a, tf.bfloat16)),
        "a variable of tensorflow": (tf.Variable, lambda a: tf.Variable(tf.cast(a, tf.bfloat16))),
    }


FRAMEWORKS = (
    "numpy", "torch", "torch, trained", "jax", "tensorflow", "a variable of tensorflow"
)  # fmt: skip


def made(framework: str) -> Any:
    for name in ("torch", "jax", "tensorflow"):
        pytest.importorskip(name)
    return makers()[framework]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_tensors_are_read_in_their_own_dtype(framework: str) -> None:
    make, in_bfloat16 = made(framework)
    found = certify(make(STATES), **arguments(make))
    assert found.ok and found.claimed == "float32"
    assert certify_projected(make(STATES), **arguments(make)).ok
    states = STATES.astype(ml_dtypes.bfloat16)
    rounded = certify(in_bfloat16(STATES), **LAYER.arguments)
    assert rounded.claimed == "bfloat16"
    assert np.array_equal(rounded.observed, states.astype(np.float64))
    values = arrays.numbers("states", in_bfloat16(STATES))
    assert values.dtype == ml_dtypes.bfloat16 and np.array_equal(values, states)
    listed = arrays.numbers("states", [make(each) for each in STATES])
    assert np.array_equal(listed, STATES)


def dtypes() -> list[Any]:
    import jax.numpy as jnp
    import keras
    import tensorflow as tf
    import torch

    return [
        ["float32", np.float32, np.dtype(np.float32), torch.float32, tf.float32, jnp.float32,
         "torch.float32", keras.DTypePolicy("float32"), jnp.asarray(1.0).dtype],
        ["bfloat16", ml_dtypes.bfloat16, torch.bfloat16, tf.bfloat16, jnp.bfloat16,
         "mixed_bfloat16", keras.DTypePolicy("mixed_bfloat16")],
        ["float16", np.half, torch.half, tf.float16, jnp.float16, "mixed_float16"],
        ["float64", float, np.float64, torch.double, tf.float64, jnp.float64],
    ]  # fmt: skip


def test_a_dtype_is_that_of_any_framework() -> None:
    made("numpy")
    for name, *others in dtypes():
        for dtype in others:
            assert arrays.claimed(dtype, STATES) is arrays.claimed(name, STATES), dtype


def test_a_tensor_without_numbers_is_refused() -> None:
    torch = pytest.importorskip("torch")
    for x in (torch.empty((3, 7, 4), device="meta"), torch.eye(4).to_sparse()):
        with pytest.raises(ValueError, match="x cannot be read as an array of numbers"):
            certify(STATES, **LAYER.arguments | {"x": x})


def test_float64_becomes_bfloat16_by_way_of_float32_as_frameworks_cast_it() -> None:
    """Above a tie by less than float32 sees, and so to even and down; to nearest it were up."""
    above = np.array([1 + 2.0**-8 + 2.0**-40])
    assert arrays.read("x", above, ARITHMETICS["bfloat16"]) == 1
    cast = pytest.importorskip("torch").tensor(above).bfloat16()
    assert cast.item() == 1
