"""Which packages does somebody mean, and on which backend?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from rnn_check.refusal import Refused, nearest

KERAS = ("keras", "keras-nightly")
# packages that are a backend, and whether they bring their own Keras
PROVIDES = {
    "tensorflow": "tensorflow",
    "tensorflow-cpu": "tensorflow",
    "tf-nightly": "tensorflow",
    "tf-nightly-cpu": "tensorflow",
    "jax": "jax",
    "torch": "torch",
    "openvino": "openvino",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "flax": "flax",
    "equinox": "equinox",
}
# what Keras imports on a backend, whether it says so or not: on numpy it needs jax, too, and Keras
# 3.2 and 3.3 need packaging, which TensorFlow brings
NEEDS = {
    "tensorflow": ("tensorflow",),
    "jax": ("jax[cpu]", "packaging"),
    "torch": ("torch", "packaging"),
    "openvino": ("openvino", "scipy", "packaging"),
    "numpy": ("jax[cpu]", "scipy", "packaging"),
    # in place of Keras
    "torch.nn": ("torch", "numpy"),
    "onnx": ("onnx", "numpy"),
    "onnxruntime": ("onnxruntime", "onnx", "numpy"),
    "flax": ("flax", "jax[cpu]"),
    "equinox": ("equinox", "jax[cpu]"),
}
WITHOUT_KERAS = ("torch.nn", "onnx", "onnxruntime", "flax", "equinox")


class WordError(Refused):
    """A word that names no subject."""


@dataclass(frozen=True)
class Wanted:
    """A subject as it was typed: requirements, those that follow from them, and the backend."""

    text: str
    named: tuple[str, ...]
    requirements: tuple[str, ...]
    backend: str


def parse(text: str) -> Wanted:
    """`tensorflow==2.13.1`, or `keras==3.12.0,jax==0.7.2@jax`: requirements, then the backend.

    Without a backend it is the one that a package named is, or tensorflow, as Keras has it. What
    the backend needs is added. Raises WordError.
    """
    listed, at, backend = text.partition("@")
    named: dict[str, str] = {}
    for part in _split(listed):
        try:
            requirement = Requirement(part.strip())
        except InvalidRequirement:
            hint = ", with two equal signs" if re.search(r"[^=<>!~]=[^=]", part) else ""
            raise WordError(
                f"{text!r}: {part.strip()!r} is no requirement; expected one such as "
                f"tensorflow==2.13.1{hint}"
            ) from None
        name = canonicalize_name(requirement.name)
        if name in named:
            raise WordError(f"{text!r}: names {name} twice; write {name}>=3,<3.2 as one")
        if name == "jax" and not requirement.extras:  # before 0.4.36 it brought nothing to run on
            requirement.extras = {"cpu"}
        named[name] = str(requirement)
    backends = list(dict.fromkeys(PROVIDES[name] for name in named if name in PROVIDES))
    if at and backend not in NEEDS:
        raise WordError(f"{text!r}: unknown backend {backend!r}{nearest(backend, NEEDS)}")
    if not at and len(backends) > 1:
        raise WordError(
            f"{text!r}: on which backend? Add one of " + ", ".join(f"@{name}" for name in backends)
        )
    if not backends and not set(KERAS) & named.keys():
        known = (*KERAS, *PROVIDES)
        (*_, first) = (nearest(name, known) for name in named)
        raise WordError(f"{text!r}: brings no Keras{first}")
    backend = backend or (backends[0] if backends else "tensorflow")
    added = [need for need in NEEDS[backend] if need.partition("[")[0] not in named]
    if "tensorflow" in backends:  # whichever of its packages
        added = [name for name in added if name != "tensorflow"]
    if (
        backend not in WITHOUT_KERAS
        and not set(KERAS) & named.keys()
        and backends != ["tensorflow"]
    ):
        added.append("keras")
    return Wanted(text, tuple(named), (*named.values(), *added), backend)


def _split(listed: str) -> list[str]:
    """At the commas between requirements, not at those inside one: keras>=3,<3.2,jax."""
    parts: list[str] = []
    for part in listed.split(","):
        if parts and re.match(r"\s*[=<>!~]", part):
            parts[-1] += "," + part
        else:
            parts.append(part)
    return parts
