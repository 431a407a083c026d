"""Can a file's class be asked in place of one of Keras's, as far as is seen without running it?

The file is read, not imported: it would import a framework, which takes many seconds, and its
mistakes are mostly seen by then. What only the class itself can tell is asked of the subject (see
`offers` in `subject`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from rnn_check.refusal import Refused, nearest
from rnn_check.subjects.asked.named import layer_of
from rnn_check.subjects.asked.own import STANDS_IN, needs

SHOWN = "docs/own_layer.md shows one that can"


class LayerError(Refused):
    """A class that cannot be asked."""


def place(spec: str) -> tuple[str, str]:
    """KIND and FILE.py:CLASS of "[KIND=]FILE.py:CLASS": for which class of Keras's it stands in.

    Without a KIND that is SimpleRNN.
    """
    kind, _, where = spec.partition("=")
    return (kind, where) if kind in STANDS_IN else ("SimpleRNN", spec)


def checked(spec: str) -> str:
    """The same "[KIND=]FILE.py:CLASS" with a path that holds everywhere.

    Raises LayerError if there is no such file or class, or if the class is seen to lack something.
    """
    kind, where = place(spec)
    before, equals, _ = where.partition("=")
    if equals and before.isidentifier():
        raise LayerError(f"unknown class {before!r}{nearest(before, STANDS_IN)}")
    file, colon, name = where.rpartition(":")
    if not colon or not name.isidentifier():
        raise LayerError(f"expected FILE.py:CLASS, got {where!r}")
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
    makes = any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in tree.body)
    if name not in names and "*" not in names and not makes:
        raise LayerError(f"{file} defines no {name}{nearest(name, names)}")
    for node in tree.body:
        if (
            isinstance(node, ast.ClassDef)
            and node.name == name
            and (lacks := list(_lacks(node, kind)))
        ):
            said = "".join(f"\n  - {each}" for each in lacks)
            raise LayerError(f"{file}: {name} cannot stand in for {kind} ({SHOWN}):{said}")
    found = f"{path.resolve()}:{name}"
    return found if kind == "SimpleRNN" else f"{kind}={found}"


def _bound(tree: ast.AST) -> Iterator[str]:
    """The names that are given somewhere in the module: a few more than it ends up with."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _lacks(node: ast.ClassDef, kind: str) -> Iterator[str]:
    """What a class that inherits nothing lacks for certain."""
    inherits = [
        base for base in node.bases if not isinstance(base, ast.Name) or base.id != "object"
    ]
    if inherits or node.keywords or node.decorator_list:
        return
    arguments, methods, attributes = needs(kind)
    own = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    given = {*_bound(node), *(n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute))}
    bases = f"keras.layers.{kind} or keras.layers.{'RNN' if layer_of(kind) == kind else 'Layer'}"
    yield f"it inherits from nothing; {bases} have what is needed"
    if "__init__" not in given:
        yield "it has no constructor that takes " + ", ".join(arguments)
    elif "__init__" in own and own["__init__"].args.kwarg is None:
        taken = own["__init__"].args
        known = {each.arg for each in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)}
        if missing := [key for key in arguments if key not in known]:
            yield f"its constructor does not take {', '.join(missing)}"
    if "__getattr__" in given:
        return
    if missing := [f"{each}()" for each in methods if each not in given]:
        yield f"it has no {', '.join(missing)}"
    if missing := [
        each for each in {**dict.fromkeys(attributes), "units": None} if each not in given
    ]:
        yield f"it has no attribute {', '.join(missing)}"
