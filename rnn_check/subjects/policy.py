"""In what do the layers compute under a dtype policy, and in what the losses?

Keras has two switches: the dtype policy of a layer, and floatx, which what is no layer computes in
(losses) and which a layer takes that is given no policy. Somebody who wants a float64 layer gives
it dtype="float64" and leaves floatx as it is, or sets floatx; the two are different programs.
"""

from __future__ import annotations

from dataclasses import dataclass

NAMES = (
    *("float32", "float64", "floatx_float64", "float16", "bfloat16"),
    *("mixed_float16", "mixed_bfloat16"),
)


@dataclass(frozen=True)
class Policy:
    """What one of NAMES stands for.

    layer: Keras's dtype policy of every layer. floatx: Keras's own beside it.
    """

    name: str

    @property
    def layer(self) -> str:
        return self.name.removeprefix("floatx_")

    @property
    def floatx(self) -> str:
        return "float64" if self.name == "floatx_float64" else "float32"

    @property
    def is_mixed(self) -> bool:
        """Whether layers compute in another arithmetic than they keep their weights in."""
        return self.layer.startswith("mixed_")

    @property
    def computed_in(self) -> str:
        """The arithmetic of the layers' steps."""
        return self.layer.removeprefix("mixed_")

    @property
    def kept_in(self) -> str:
        """The arithmetic of the dtype of the weights."""
        return "float32" if self.is_mixed else self.layer

    @property
    def loss_in(self) -> str:
        """The arithmetic that bounds a loss's errors: that of the outputs, or floatx if coarser."""
        return self.floatx if self.computed_in == "float64" else self.computed_in
