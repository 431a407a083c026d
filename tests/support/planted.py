"""Which faults can be planted?  By name, "FILE.py:CLASS" as `--layer` takes it.

The files are read and not imported: they import a framework, and it is the subject that does.
"""

from __future__ import annotations

import ast
from pathlib import Path

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


LAYERS = found(FOLDER / "faults.py", "Faulty", "Loop")
OPTIMIZERS = {
    "Adam": found(FOLDER / "training_faults.py", "keras.optimizers.Adam", "keras.optimizers.AdamW"),
    "SGD": found(FOLDER / "training_faults.py", "keras.optimizers.SGD"),
    "RMSprop": found(FOLDER / "training_faults.py", "keras.optimizers.RMSprop"),
}
