"""Which faults can be planted?  By name, as `--layer` takes them.

Files that import a framework are read and not imported: it is the subject that does.
"""

from __future__ import annotations

import ast
from pathlib import Path

from rnn_check.asking import plans, request
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject, SubjectError
from tests.keras import gated_faults

NONE = "none"
FOLDER = Path(__file__).parents[1] / "keras"
# beside a fault: a model of a few steps is not compiled, which takes most of the time
EAGERLY = {name: f"{FOLDER / 'eagerly.py'}:{name}" for name in ("Model", "Sequential")}


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


def asked_eagerly(
    claim: Claim, subject: Subject, setting: request.Setting | None = None
) -> request.Answer:
    """As `request.ask` asks, of models that are not compiled: for an answer that is spoilt."""
    how = setting or request.Setting()
    if (answer := request.unasked(claim, how)) is not None:
        return answer
    question = request.request(claim, request.asks(claim), how)
    if subject.identity.gradients:
        question["replace"] = {**EAGERLY, **question.get("replace", {})}
    try:
        said, observed = plans.ask(subject, question)
        return request.Answer(observed, said=said)
    except SubjectError as error:
        return request.Answer(error=str(error))


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
