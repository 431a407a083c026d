"""Can the class of a file be asked in place of SimpleRNN, as far as one sees without running it?

The file is read, not imported: it would import a framework, which takes many seconds, and its
mistakes are mostly seen by then. What only the class itself can tell is asked of the subject (see
`offers` in `subject`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from rnn_check.refusal import Refused, nearest
from rnn_check.subjects.asked.own import ARGUMENTS, ATTRIBUTES, METHODS

SHOWN = "docs/own_layer.md shows one that can"


class LayerError(Refused):
    """A class that cannot be asked."""


def checked(spec: str) -> str:
    """The same "FILE.py:CLASS" with a path that holds everywhere.

    Raises LayerError if there is no such file or class, or if the class is seen to lack something.
    """
    file, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier():
        raise LayerError(f"expected FILE.py:CLASS, got {spec!r}")
    path = Path(file)
    if not path.is_file():
        raise LayerError(f"no such file: {file}")
    if path.suffix != ".py":
        raise LayerError(f"{file}: expected a Python file, called FILE.py")
    try:
        tree = ast.parse(path.read_bytes(), file)
    except OSError as error:
        raise LayerError(f"{file}: cannot be read: {error.strerror}") from None
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        raise LayerError(f"{file}{where}: no Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise LayerError(f"{file}: no Python: {error}") from None
    names = set(_bound(tree))
    if name not in names and "*" not in names:
        raise LayerError(f"{file} defines no {name}{nearest(name, names)}")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name and (lacks := list(_lacks(node))):
            said = "".join(f"\n  - {each}" for each in lacks)
            raise LayerError(f"{file}: {name} cannot stand in for SimpleRNN ({SHOWN}):{said}")
    return f"{path.resolve()}:{name}"


def _bound(tree: ast.AST) -> Iterator[str]:
    """The names that are given somewhere in the module: a few more than it ends up with."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _lacks(node: ast.ClassDef) -> Iterator[str]:
    """What a class that inherits nothing lacks for certain."""
    inherits = [
        base for base in node.bases if not isinstance(base, ast.Name) or base.id != "object"
    ]
    if inherits or node.keywords or node.decorator_list:
        return
    own = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    given = {*_bound(node), *(n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute))}
    yield "it inherits from nothing; keras.layers.SimpleRNN or keras.layers.RNN have what is needed"
    if "__init__" not in given:
        yield "it has no constructor that takes " + ", ".join(ARGUMENTS)
    elif "__init__" in own and own["__init__"].args.kwarg is None:
        taken = own["__init__"].args
        known = {each.arg for each in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)}
        if missing := [key for key in ARGUMENTS if key not in known]:
            yield f"its constructor does not take {', '.join(missing)}"
    if "__getattr__" in given:
        return
    if missing := [f"{each}()" for each in METHODS if each not in given]:
        yield f"it has no {', '.join(missing)}"
    if missing := [each for each in (*ATTRIBUTES, "units") if each not in given]:
        yield f"it has no attribute {', '.join(missing)}"
