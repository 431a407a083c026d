"""Which faults can be planted?  By name, as `--layer` takes them.

Files that import a framework are read and not imported: it is the subject that does.
"""

from __future__ import annotations

import ast
from pathlib import Path

from rnn_check.claims.claim import Claim
from tests.keras import gated_faults

NONE = "none"
FOLDER = Path(__file__).parents[1] / "keras"


def found(file: Path, *roots: str) -> dict[str, str]:
    """The public classes that descend from one of the roots, in order, by what they say first."""
    descend, faults = set(roots), {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and descend & set(map(ast.unparse, node.bases)):
            descend.add(node.name)
            if not node.name.startswith("_") and node.name not in roots:
                faults[(ast.get_docstring(node) or "").strip()] = f"{file}:{node.name}"
    return faults


def replaced(by: str, fault: str) -> dict[str, str]:
    """The request's `replace` that plants a fault of an optimizer."""
    return {by.split(",")[0]: OPTIMIZERS[by][fault]}


def of(claim: Claim) -> dict[str, str]:
    """Those of the layer that the claim is about."""
    kinds = [type(layer).__name__ for layer in claim.layers]
    every = {"SimpleRNN": LAYERS, **GATED}  # of a stack those of its first SimpleRNN
    return next((every[kind] for kind in every if kind in kinds), LAYERS)


LAYERS = found(FOLDER / "faults.py", "Faulty", "Loop")
AVERAGES = "SGD, averaged"  # beside which stands the optimizer alone
OPTIMIZERS = {
    "Adam": found(FOLDER / "training_faults.py", "keras.optimizers.Adam"),
    "SGD": found(FOLDER / "training_faults.py", "keras.optimizers.SGD"),
    "RMSprop": found(FOLDER / "training_faults.py", "keras.optimizers.RMSprop"),
    "AdamW": found(FOLDER / "updating_faults.py", "keras.optimizers.AdamW"),
    AVERAGES: found(FOLDER / "updating_faults.py", "keras.optimizers.SGD"),
}
GATED = {
    kind: {name: f"{kind}={gated_faults.__file__}:{each.slug}" for name, each in faults.items()}
    for kind, faults in gated_faults.FAULTS.items()
}
