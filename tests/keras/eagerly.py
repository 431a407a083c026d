"""Models that train and evaluate without a graph: of a fault a few steps are seen, and to trace and
compile one takes as long as ten.

They stand in for Keras's where another class has a fault; what has none is asked as it compiles.
"""

from __future__ import annotations

from typing import Any

import keras


class Eagerly:
    """What compile is told is not to."""

    def compile(self, *given: Any, **how: Any) -> None:
        how.update(jit_compile=False, run_eagerly=True)
        super().compile(*given, **how)  # type: ignore[misc]


class Model(Eagerly, keras.Model):
    """none"""


class Sequential(Eagerly, keras.Sequential):
    """none"""
