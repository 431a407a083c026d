"""Is every claim file either understood or refused with one clear message, whatever is in it?

    python -m tools.fuzz_claims --cases 200000 --seed 1

Claim files are made of the bundled ones: three of four by changing their structure (values, keys,
tables, whole subtrees of other files), one of four as text and bytes.  Each is loaded; and

* nothing but a `ClaimError` may come out, with a short message on one line that names the file;
* no case may take more processor time or memory than `--seconds` and `--megabytes` (beyond what the
  program takes before the first);
* what loads satisfies the published JSON Schema, and can be asked as a request.

A case is made of its number and the seed alone: `--only CASE` repeats it and writes its file to
stdout.  Faults of the loader come out as they are, since `files.read_each` turns none into a
`ClaimError`, as `files.load_each` does.  The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import datetime
import json
import random
import resource
import sys
import tempfile
import time
import tomllib
import traceback
import typing
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import tomli_w

from rnn_check.asking import request as asking_request
from rnn_check.claims import files, schema, tables
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.expectation import KINDS, At
from rnn_check.numbers import activations
from rnn_check.refusal import ClaimError
from rnn_check.subjects import ask as observe
from rnn_check.subjects.asked import named as subject

SCHEMA = Path(__file__).parents[1] / "docs" / "claim.schema.json"
LONGEST = 2_000  # characters of a message

Document = dict[str, Any]
Way = tuple[str | int, ...]  # from the document down to a value


# --- what is put into files -----------------------------------------------------------------------

HEX = "@hexadecimal@"  # TOML has such integers, its writer has not
WORDS = [
    *KINDS,
    *subject.LAYERS, *subject.CELLS, *activations.ACTIVATIONS,
    *(kind for family in subject.KINDS.values() for kind in family),
    *("kernel", "recurrent_kernel", "bias", "x", "initial_state", "dense.kernel", "simple_rnn"),
    *("call", "predict", "config", "keras", "input", "recurrent", "smaller batch", "loss"),
    *("Adam.epsilon", "SGD", "exact", "real", "float32", "float64", "hand", "rounded", "W·x"),
    *("None", "none", "callable tanh", "callable get", "mse", "cotangent", "Lambda", "TFSMLayer"),
    *("(None, 3)", "(1, 2, 3)", "(²,)", "ValueError", "int32", "bfloat16", "printed", "subject"),
    *("", " ", "0x1.8p+0", "0x1p5000", "0x1p-2000", "1.5", "nan", "\x1b[2J", "\u202e", "x" * 3000),
    *("a\nb", "é", "😀", "../x.npz", "/etc/passwd", "good.npz", "\x00"),
]  # fmt: skip
_DECIMALS = """0.1 0.5 -0.5 0.25 0.0 -0.0 1.0 3.0 1e308 1.8e308 1e309 1e-320 1e-400 5e-324 1e4999
1e999999 1e-999999999 0e999999999 nan inf -inf 0.99999999999"""
NUMBERS = [
    *(0, 1, -1, 2, 3, 4, 7, 100, 4096, 4097, 10**6, 10**9, 2**31, 2**63, -(2**63), 10**30, 10**400),
    *map(Decimal, _DECIMALS.split()),
    Decimal("0." + "3" * 60), Decimal("0." + "3" * 3000),
    HEX + "f" * 20, HEX + "f" * 400, HEX + "f" * 5000,
]  # fmt: skip
KEYS = [
    *schema.ClaimFile.__struct_fields__,
    *(name for options in subject.LAYERS.values() for name in options),
    *(name for table in (tables.Source, tables.InputTable, At, tables.WrongTable)
      for name in table.__struct_fields__),
    *("kind", "name", "what", "from", "of", "value", "at", "on", "not_run", "known_to_differ"),
    *("kernel", "recurrent_kernel", "recurrent_bias", "forward", "backward", "npz", "key"),
    *("linspace", "full", "arange", "identity", "times", "", "a.b", "\x1b[31m", "ключ", "from_"),
    *("__class__", "filepath", "vocabulary", "k" * 300),
]  # fmt: skip


def archives(folder: Path) -> list[str]:
    """`.npz` files beside the claims, good ones and bad ones."""
    good: dict[str, Any] = {
        "x": np.ones((1, 2, 2)),
        "kernel": np.eye(2),
        "half": np.ones(3, np.float16),
    }
    bad: dict[str, Any] = {
        "big": np.array([2**63], np.uint64),
        "nan": np.array([np.nan]),
        "word": np.array(["a"]),
    }
    bad |= {"none": np.ones((0, 2)), "bool": np.array([True]), "complex": np.array([1j])}
    objects = np.empty(1, object)
    np.savez(folder / "good.npz", **good)
    np.savez(folder / "bad.npz", **bad, objects=objects)
    np.savez_compressed(folder / "bomb.npz", x=np.zeros(30_000_000))
    whole = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npz").write_text("no archive")
    (folder / "empty.npz").write_bytes(b"")
    for name, descr in (("lie", "'<f8', 'fortran_order': False, 'shape': (10000000000,), }"),
                        ("deep", "(" * 9000)):  # fmt: skip
        header = f"{{'descr': {descr}".ljust(9_500).encode() + b"\n"
        member = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
        with zipfile.ZipFile(folder / f"{name}.npz", "w") as archive:
            archive.writestr("x.npy", member)
    (folder / "link.npz").symlink_to("/dev/zero")
    flips = random.Random(0)
    for number in range(20):
        flipped = bytearray(whole)
        flipped[flips.randrange(len(flipped))] ^= 1 << flips.randrange(8)
        (folder / f"flip{number}.npz").write_bytes(flipped)
    return sorted(file.name for file in folder.glob("*.npz"))


class Maker:
    """Makes the file of a case."""

    def __init__(self, npz: list[str]) -> None:
        found = [file for _, file in files.find([files.bundled()])]
        self.texts = [file.read_text(encoding="utf-8") for file in found]
        self.documents = [tomllib.loads(text, parse_float=Decimal) for text in self.texts]
        self.npz = npz

    def case(self, seed: int, number: int) -> bytes:
        draw = random.Random(f"{seed} {number}")
        if number % 4 == 3:
            return self.changed_text(draw)
        document = copy.deepcopy(draw.choice(self.documents))
        for _ in range(draw.choice([1, 1, 1, 1, 2, 2, 3, 6])):
            with contextlib.suppress(LookupError, TypeError, AttributeError, ArithmeticError):
                # a place may have become something else by an earlier change
                draw.choice(self.changes)(self, draw, document)
        try:
            text = tomli_w.dumps(document)
        except (RecursionError, TypeError):  # too deep, or a key that is a number
            return self.changed_text(draw)
        return text.replace(f'"{HEX}', "0x").replace('@"', "").encode("utf-8", "replace")

    # values

    def scalar(self, draw: random.Random) -> Any:
        kind = draw.randrange(10)
        if kind < 4:
            number = draw.choice(NUMBERS)
            return f"{number}@" if isinstance(number, str) else number
        if kind < 8:
            return draw.choice(WORDS)
        if kind == 8:
            return draw.random() < 0.5
        return draw.choice([datetime.date(1979, 5, 27), datetime.time(7, 32), [], {}])

    def array(self, draw: random.Random, depth: int | None = None) -> Any:
        if depth is None:
            depth = draw.choice([1, 2, 2, 3, 3, 4, 9, 17, 33, 70])
        if depth > 8:
            value: Any = 1
            for _ in range(depth):
                value = [value]
            return value
        if depth == 0:
            return draw.choice([0, 1, 2, Decimal("0.5"), "0x1.8p+0", self.scalar(draw)])
        entries = [self.array(draw, depth - 1) for _ in range(draw.choice([1, 1, 2, 2, 3]))]
        if draw.random() < 0.05:
            entries.append(self.scalar(draw))
        return entries

    def recipe(self, draw: random.Random) -> Document:
        sizes = [
            draw.choice([1, 1, 2, 3, 0, -1, 100, 10**4, 10**9]) for _ in range(draw.randrange(5))
        ]
        many = draw.choice([0, 1, 2, 3, 9, -1, 10**3, 10**9, 10**18, True, Decimal("2.0")])
        return draw.choice([
            {"linspace": [self.scalar(draw), self.scalar(draw)], "shape": sizes},
            {"linspace": [0, 1], "shape": sizes},
            {"arange": many, "shape": sizes},
            {"full": self.scalar(draw), "shape": sizes},
            {"full": 1, "shape": [1, 2, draw.choice([2, 10**5, 10**6, 10**7])]},
            {"identity": many, "times": self.scalar(draw)},
            {"one_hot": draw.choice([self.array(draw), [0, 2, -1], [[0], [1, 2]]]), "depth": many},
            {"random": draw.choice(["RandomState.randn", "RandomState.randint", "randn",
                                    "default_rng.normal", "default_rng.uniform"]),
             "seed": many, "shape": sizes, "args": [self.scalar(draw), self.scalar(draw)],
             "times": self.scalar(draw)},
            {"random": "RandomState.normal", "seed": 1, "shape": sizes, "after": many},
            [{"full": 1, "shape": [2]}, self.array(draw)],
            {"npz": draw.choice([*self.npz, *WORDS[-6:]]),
             "key": draw.choice(["x", "kernel", "big", "nan", "objects", "word", 1, ""])},
            {draw.choice(KEYS): self.scalar(draw)},
        ])  # fmt: skip

    def deep(self, draw: random.Random) -> Document:
        """A table of tables of tables ..."""
        table: Document = {"kind": draw.choice(WORDS)}
        for _ in range(draw.choice([3, 20, 200])):
            table = {draw.choice(["a", "kind", "value"]): table}
        return table

    def subtree(self, draw: random.Random) -> tuple[Way, Any]:
        document = draw.choice(self.documents)
        way = draw.choice(ways(document))
        return way, copy.deepcopy(at(document, way))

    def value(self, draw: random.Random) -> Any:
        makers: list[Callable[[random.Random], Any]] = [
            self.scalar, self.scalar, self.array, self.array, self.recipe, self.deep,
            lambda draw: self.subtree(draw)[1],
        ]  # fmt: skip
        return draw.choice(makers)(draw)

    # changes of a document

    def replace(self, draw: random.Random, document: Document) -> None:
        way = draw.choice(ways(document))
        at(document, way[:-1])[way[-1]] = self.value(draw)

    def nudge(self, draw: random.Random, document: Document) -> None:
        """A value becomes another of its kind."""
        leaves = [w for w in ways(document) if not isinstance(at(document, w), dict | list)]
        way = draw.choice(leaves)
        value = at(document, way)
        if isinstance(value, bool):
            value = not value
        elif isinstance(value, int):
            value += draw.choice([-1, 1, 100])
        elif isinstance(value, Decimal):
            value = draw.choice([-value, value * 10, value / 2, value + 1])
        elif isinstance(value, str):
            value = draw.choice([value + " ", value.upper(), value * 2, *WORDS])
        at(document, way[:-1])[way[-1]] = value

    def remove(self, draw: random.Random, document: Document) -> None:
        way = draw.choice(ways(document))
        del at(document, way[:-1])[way[-1]]

    def rename(self, draw: random.Random, document: Document) -> None:
        way = draw.choice([way for way in ways(document) if isinstance(way[-1], str)])
        table = at(document, way[:-1])
        table[draw.choice(KEYS)] = table.pop(way[-1])

    def add(self, draw: random.Random, document: Document) -> None:
        tables = [way for way in [(), *ways(document)] if isinstance(at(document, way), dict)]
        at(document, draw.choice(tables))[draw.choice(KEYS)] = self.value(draw)

    def lengthen(self, draw: random.Random, document: Document) -> None:
        lists = [way for way in ways(document) if isinstance(at(document, way), list)]
        entries = at(document, draw.choice(lists))
        entries.insert(draw.randrange(len(entries) + 1), copy.deepcopy(draw.choice(entries)))

    def wrap(self, draw: random.Random, document: Document) -> None:
        way = draw.choice(ways(document))
        table, value = at(document, way[:-1]), at(document, way)
        table[way[-1]] = value[0] if isinstance(value, list) and draw.random() < 0.5 else [value]

    def swap(self, draw: random.Random, document: Document) -> None:
        one, other = draw.choice(ways(document)), draw.choice(ways(document))
        values = copy.deepcopy(at(document, one)), copy.deepcopy(at(document, other))
        at(document, one[:-1])[one[-1]], at(document, other[:-1])[other[-1]] = values[::-1]

    def transplant(self, draw: random.Random, document: Document) -> None:
        way, value = self.subtree(draw)
        at(document, way[:-1])[way[-1]] = value

    def another_expectation(self, draw: random.Random, document: Document) -> None:
        expect = draw.choice(document["expect"])
        expect[draw.choice(["what", "of", "of", "on", "computed_in", "not_run"])] = draw.choice(
            WORDS
        )
        if draw.random() < 0.5:
            names = [*At.__struct_fields__, "step"]
            index = draw.choice([0, 1, -1, 100, [0], [0, 0], [], [0, -1], 10**20, True, "0"])
            expect["at"] = {draw.choice(names): index}
        if draw.random() < 0.5:
            values = [True, 0, 1, "none", "(None, 3)", "ValueError", {"kind": "Zeros"}]
            expect["value"] = draw.choice([*values, self.value(draw)])

    def another_option(self, draw: random.Random, document: Document) -> None:
        layer = document["layer"] if "layer" in document else draw.choice(document["layers"])
        kind = draw.choice([layer.get("kind"), *subject.LAYERS])
        options = subject.LAYERS.get(kind, ("units",))
        layer[draw.choice([*options, "kind"])] = draw.choice(
            [kind, True, False, 1, 2, Decimal("0.5"), self.scalar(draw),
             {"kind": draw.choice(WORDS), draw.choice(["l2", "seed", "gain"]): self.scalar(draw)}]
        )  # fmt: skip

    def vary(self, draw: random.Random, document: Document) -> None:
        way = ".".join(map(str, draw.choice(ways(document))[:5]))
        odd = [
            "",
            ".",
            "0",
            "0.1",
            "a..b",
            "expect.-1.of",
            "expect.0_0.of",
            "expect.٠.of",
            "vary.a",
        ]
        values = [self.value(draw) for _ in range(draw.choice([0, 1, 2, 2, 3, 40]))]
        named = {draw.choice([*"abc", "\x1b[31m", ""]) + str(i): v for i, v in enumerate(values)}
        table = document.setdefault("vary", {})
        table[way if draw.random() < 0.8 else draw.choice(odd)] = draw.choice([values, named])

    def misuse(self, draw: random.Random, document: Document) -> None:
        sizes = [draw.choice([0, 1, 3, -1, 1000, 10**9, self.scalar(draw)]) for _ in range(3)]
        document["wrong"] = draw.choice([
            {"layer": {draw.choice(KEYS): self.value(draw)}},
            {draw.choice(["x_shape", "mask_shape", "initial_state_shape"]): sizes},
            {"layer": {"cell": {"kind": "TFSMLayer", "filepath": "model"}}},
            self.value(draw),
        ])  # fmt: skip

    def another_table(self, draw: random.Random, document: Document) -> None:
        document.update(draw.choice([
            {"printed": {draw.choice(["kernel", "bias", "predictions"]): self.array(draw)}},
            {"training": {"optimizer": draw.choice(["Adam", "SGD"]),
                          "learning_rate": self.scalar(draw), "epochs": self.scalar(draw)}},
            {"loss": {"kind": draw.choice(["mse", "cotangent", "categorical_crossentropy"]),
                      draw.choice(["target", "cotangent"]): self.array(draw)}},
            {"input": {draw.choice(["x", "shape"]): draw.choice([[3, 2], self.array(draw)])}},
            {"reading": {draw.choice(["weights", "input", "layout"]): draw.choice(WORDS)}},
            {"reading": {"layout": "W·x"}},
        ]))  # fmt: skip

    changes: typing.ClassVar[list[Callable[[Maker, random.Random, Document], None]]] = [
        *[nudge] * 6, *[replace] * 3, *[add, another_expectation, another_option, vary] * 2,
        *(remove, rename, lengthen, wrap, swap, transplant, misuse, another_table),
    ]  # fmt: skip

    # changes of text

    TOKENS = (
        *('[', '[[', ']', ']]', '"', '"""', "'", "'''", "{", "}", "=", ",", ".", "#", "\n", "\\"),
        *("nan", "1e", "0x", "_", "true", "\ufeff", "\u2028", "\r", "\x00", "\x1b[2J", "\\u001b"),
        *("[layer]", "[[expect]]", "[vary]", "units=1", "1979-05-27", "1" * 5000, "[" * 70),
        *("a." * 40 + "a=1", "[" + "b." * 40 + "b]", '"' + "\\x" * 900, "0x" + "f" * 5000),
        *("0,5", "{a=" * 70, "1e" + "9" * 30, "1e" + "3" * 5000),
    )  # fmt: skip

    def changed_text(self, draw: random.Random) -> bytes:
        lines = draw.choice(self.texts).split("\n")
        for _ in range(draw.choice([1, 1, 1, 2, 3, 6])):
            i = draw.randrange(len(lines))
            match draw.randrange(6):
                case 0:
                    lines.insert(i, draw.choice(lines))
                case 1:
                    lines[i] = draw.choice(draw.choice(self.texts).split("\n"))
                case 2:
                    cut = draw.randrange(len(lines[i]) + 1)
                    lines[i] = lines[i][:cut] + draw.choice(self.TOKENS) + lines[i][cut:]
                case 3:
                    cut = draw.randrange(len(lines[i]) + 1)
                    lines[i] = lines[i][:cut] + lines[i][cut + 1 :]
                case 4:
                    del lines[i + 1 :]
                case 5:
                    lines[i], lines[-1] = lines[-1], lines[i]
        raw = bytearray("\n".join(lines).encode())
        for _ in range(draw.choice([0, 0, 0, 1, 2, 8])):
            where = draw.randrange(len(raw) + 1)
            raw[where : where + draw.randrange(2)] = bytes([draw.randrange(256)])
        return bytes(raw)


def ways(document: Any) -> list[Way]:
    """The ways to all that is in a document."""

    def below(node: Any, way: Way) -> Iterator[Way]:
        entries: Any = ()
        if isinstance(node, dict):
            entries = node.items()
        elif isinstance(node, list):
            entries = enumerate(node)
        for key, value in entries:
            yield (*way, key)
            yield from below(value, (*way, key))

    return list(below(document, ()))


def at(document: Any, way: Way) -> Any:
    for key in way:
        document = document[key]
    return document


# --- what is to hold ------------------------------------------------------------------------------


class Checker:
    """Loads files and says what is wrong with what comes out."""

    def __init__(self, folder: Path, seconds: float, megabytes: float) -> None:
        self.file = folder / "claim.toml"
        self.seconds, self.megabytes = seconds, megabytes
        schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
        self.schema = jsonschema.Draft202012Validator(schema)
        self.loaded = self.claims = self.refused = 0
        self.slowest = 0.0
        self.start = self.peak = peak()

    def check(self, content: bytes) -> Iterator[str]:
        """What is wrong, one line each."""
        self.file.write_bytes(content)
        claims: list[Claim] = []
        started = time.process_time()
        try:
            claims = files.read_each(self.file)
        except ClaimError as error:
            self.refused += 1
            yield from self.message(error)
        except Exception as fault:
            frame = traceback.extract_tb(fault.__traceback__)[-1]
            yield f"{type(fault).__name__} at {Path(frame.filename).name}:{frame.lineno}: {fault}"[
                :300
            ]
        took = time.process_time() - started
        self.slowest = max(self.slowest, took)
        if took > self.seconds:
            yield f"took {took:.1f} s"
        if peak() > max(self.peak, self.start + self.megabytes):
            yield f"took {peak() - self.start:.0f} MB"
        self.peak = max(self.peak, peak())
        if claims:
            self.loaded += 1
            self.claims += len(claims)
            yield from self.agreement(content)
            for each in claims:
                yield from self.request(each)

    def message(self, error: ClaimError) -> Iterator[str]:
        text = str(error)
        if len(text) > LONGEST or not text.isprintable() or not text.startswith(str(self.file)):
            yield f"a message of {len(text)} characters: {text[:200]!r}"

    def agreement(self, content: bytes) -> Iterator[str]:
        document = as_json(tomllib.loads(content.decode(), parse_float=Decimal))
        for error in self.schema.iter_errors(document):
            yield f"loads, but the schema refuses it at {error.json_path}: {error.message}"[:300]

    def request(self, each: Claim) -> Iterator[str]:
        try:
            asked = asking_request.request(
                each, asking_request.asks(each), asking_request.Setting()
            )
            json.dumps(asked, default=observe.encode, allow_nan=False)
            specs = asked["layers"]
            refused = [r for spec in specs for r in subject.refusals(spec)]
        except Exception as fault:
            yield f"cannot be asked: {type(fault).__name__}: {fault}"[:300]
            return
        if refused:
            yield f"loads, but a subject refuses {refused[0]}"


def as_json(node: Any) -> Any:
    """The document as JSON would hold it; what it has no word for is a word."""
    if isinstance(node, dict):
        return {key: as_json(value) for key, value in node.items()}
    if isinstance(node, list):
        return [as_json(value) for value in node]
    if isinstance(node, Decimal):
        return float(node)
    if isinstance(node, datetime.date | datetime.time):
        return node.isoformat()
    return node


def peak() -> float:
    """MB that this process ever took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="CASE", help="show and repeat this case")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--megabytes", type=float, default=200.0)
    options = parser.parse_args()
    found: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        maker = Maker(archives(Path(name)))
        checker = Checker(Path(name), options.seconds, options.megabytes)
        numbers = range(options.first, options.first + options.cases)
        for number in numbers if options.only is None else [options.only]:
            content = maker.case(options.seed, number)
            if options.only is not None:
                sys.stdout.write(content.decode(errors="backslashreplace") + "\n")
            for problem in checker.check(content):
                kind = problem.partition(": ")[0]
                found[kind] += 1
                if found[kind] <= 3:
                    print(f"case {number}: {problem}", flush=True)
        print(
            f"{checker.loaded + checker.refused:,} files: {checker.loaded:,} loaded "
            f"({checker.claims:,} claims), {checker.refused:,} refused, {found.total():,} faults; "
            f"slowest {checker.slowest:.2f} s, {checker.peak - checker.start:.0f} MB more than "
            "before the first"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
