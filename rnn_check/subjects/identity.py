"""Who is asked?"""

from __future__ import annotations

from typing import Any

import msgspec


class Identity(msgspec.Struct, omit_defaults=True):
    """A subject, in the words of its hello. One that did not start has said its backend alone.

    keras: its version; of another framework "". dtype: of what a small layer gave.
    """

    backend: str
    backend_version: str = ""
    framework: str = "keras"
    keras: str = ""
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
    def did_not_start(self) -> bool:
        return not self.backend_version


_ALWAYS = ("backend", "backend_version", "python", "numpy", "device", "dtype")


def known(said: dict[str, Any]) -> dict[str, Any]:
    """What is known of a subject, each of its type: what else it says is nobody's business.

    Raises msgspec.ValidationError if it is not said who it is.
    """
    identity = msgspec.convert(said, Identity)
    fields = set(Identity.__struct_fields__)
    if identity.did_not_start and not {"keras", "framework"} & said.keys():
        fields = {"backend"}
    else:
        needed = (*_ALWAYS, *(("keras",) if identity.framework == "keras" else ()))
        if missing := [name for name in needed if name not in said]:
            raise msgspec.ValidationError(f"Object missing required field `{missing[0]}`")
    return {key: value for key, value in said.items() if key in fields}
