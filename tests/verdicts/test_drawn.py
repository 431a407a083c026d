"""Are weights that were drawn told from weights that were not?  Soundly, where draws coincide."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from rnn_check.claims.expectations.weights import commonest, commonest_of, is_drawn
from rnn_check.claims.written import Array
from rnn_check.numbers import formats

STORED = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 16), (64, 64)])
def test_draws_that_coincide_are_draws(dtype: str, shape: tuple[int, int]) -> None:
    """numpy's bfloat16 kernels of 48 entries have 46 values, float32's of 4,096 not all apart."""
    rng, most = np.random.default_rng(0), commonest(formats.arithmetic(dtype))
    for _ in range(200):
        drawn = rng.uniform(-0.5, 0.5, shape).astype(STORED[dtype]).astype(np.float64)
        assert is_drawn(drawn, most)


def test_draws_of_bfloat16_do_coincide() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-0.5, 0.5, (3, 16)).astype(ml_dtypes.bfloat16).astype(np.float64)
    assert len(np.unique(drawn)) < drawn.size


def test_an_orthogonal_matrix_of_two_by_two_is_drawn() -> None:
    cosine, sine = np.cos(0.5), np.sin(0.5)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    assert is_drawn(rotation, commonest(formats.arithmetic("float64")))


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("fixed", [np.ones((3, 4)), np.zeros((2, 16)), np.eye(4)], ids=str)
def test_constants_and_the_identity_are_not_drawn(fixed: Array, dtype: str) -> None:
    assert not is_drawn(fixed, commonest(formats.arithmetic(dtype)))


NARROW: dict[str, dict[str, float]] = {
    "RandomNormal": {"mean": 0.5, "stddev": 0.0},
    "RandomUniform": {"minval": 1.0, "maxval": 1.0 + 2.0**-24},
    "TruncatedNormal": {"mean": 1.0, "stddev": 1e-9},
    "Orthogonal": {"gain": 0.0},
    "VarianceScaling": {"scale": 1e-90},
}


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("kind", NARROW)
def test_draws_that_are_not_spread_may_all_be_alike(kind: str, dtype: str) -> None:
    a, alike = formats.arithmetic(dtype), np.full((3, 4), 0.5)
    assert is_drawn(alike, commonest_of({"kind": kind, "seed": 1, **NARROW[kind]}, 12, a))
    assert not is_drawn(alike, commonest_of({"kind": kind, "seed": 1}, 12, a))
