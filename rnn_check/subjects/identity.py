"""Who is asked?"""

from __future__ import annotations

from typing import Any

import msgspec

KERAS_LAYER = "keras.layers.SimpleRNN"
_ALWAYS = ("backend", "backend_version", "python", "numpy", "device", "dtype")


class Identity(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A subject, in the words of its hello.

    did_not_start: it has said none, so only its backend is known. keras: its version; of another
    framework "". dtype: of what a small layer gave.
    """

    backend: str
    did_not_start: bool = False
    framework: str = "keras"
    keras: str = ""
    backend_version: str = ""
    python: str = ""
    numpy: str = ""
    device: str = ""
    dtype: str = ""
    packages: dict[str, str] = {}
    modes: list[str] = []
    gradients: bool = False
    cpu: str = ""
    threads: int = 0
    platform: str = ""
    settings: dict[str, str] = {}

    @property
    def is_keras(self) -> bool:
        return self.framework == "keras"

    def asked(
        self,
        mode: str = "eager",
        dtype: str = "float32",
        layer: str | None = None,
        output_dtype: str = "",
    ) -> Who:
        """The same, and how it was asked."""
        how = {"mode": mode, "dtype": dtype, "output_dtype": output_dtype}
        return Who(**(msgspec.structs.asdict(self) | how), layer=layer or KERAS_LAYER)


class Who(Identity, omit_defaults=True, frozen=True, kw_only=True):
    """A subject in full: who was asked, and how.

    dtype: its policy. layer: the class that was asked. output_dtype: what came out, if that is not
    what the policy promises.
    """

    mode: str = "eager"
    dtype: str = "float32"
    layer: str = KERAS_LAYER
    output_dtype: str = ""

    @property
    def has_own_layer(self) -> bool:
        return self.layer != KERAS_LAYER

    def told(self) -> dict[str, Any]:
        """As JSON has it: what is not known of it, or does not apply to it, is not there."""
        said = msgspec.structs.asdict(self)
        if said.pop("did_not_start"):
            return {key: said[key] for key in ("backend", "mode", "dtype", "layer")}
        return {k: v for k, v in said.items() if v or k not in ("keras", "output_dtype")}


def not_started(backend: str) -> Identity:
    return Identity(backend=backend, did_not_start=True)


def known(said: Any) -> Identity:
    """What is known of a subject, each of its type: what else it says is nobody's business.

    Raises msgspec.ValidationError if it is not said who it is. What said nothing but its backend,
    as older records have it, did not start.
    """
    identity = msgspec.convert(said, Identity)
    if identity.did_not_start or not {"keras", "framework", "backend_version"} & said.keys():
        return not_started(identity.backend)
    needed = (*_ALWAYS, *(("keras",) if identity.is_keras else ()))
    if missing := [name for name in needed if name not in said]:
        raise msgspec.ValidationError(f"Object missing required field `{missing[0]}`")
    return identity
