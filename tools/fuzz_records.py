"""Damage records by the thousand: is whatever is wrong with one a RecordError, and nothing else?

    python tools/fuzz_records.py --cases 50000 [--seed 0] [--claims DIR]

Half of the cases are damaged as files are (cut, bits flipped, pieces exchanged, members renamed or
repacked); the other half have the right digest and a document or arrays that somebody edited. Each
is read, and what can be read is judged, reported in every form, tabulated and compared. Exits with
1 if anything but a RecordError comes out; each case is made again by its number and the seed alone.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import io
import json
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check.asking import observations, request
from rnn_check.asking import records as record
from rnn_check.asking.observations import Observations
from rnn_check.asking.records import RecordError
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.reports import changes, coverage, documents, markdown, terminal
from rnn_check.reports import verdicts as reports_verdicts
from rnn_check.subjects import ask as observe
from rnn_check.subjects.identity import known, not_started
from rnn_check.upgrades import changes as compare
from rnn_check.upgrades import document as upgrades_document
from rnn_check.verdicts import deviations, judge
from rnn_check.verdicts import known as verdicts_known
from rnn_check.verdicts.judge import Judged
from tests.support.bundled import load_all

IDENTITY: dict[str, Any] = {
    **{"framework": "keras", "keras": "3.15.1", "backend": "jax", "backend_version": "0.10.2"},
    **{"python": "3.11.7", "numpy": "2.4.6", "packages": {"jax": "0.10.2"}, "device": "CPU"},
    **{"dtype": "float32", "modes": ["eager", "xla"], "gradients": True, "cpu": "A CPU"},
    **{"threads": 2, "platform": "Linux", "settings": {"XLA_FLAGS": "--fast"}},
}
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e308, float("nan"), 10**400, "", "x" * 5000, "\x1b[2J", "\u202eodd"),
    *("\ud800", "3.15", "jax", "not a version", [], {}, [[]], {"": 0}, ["x", 1]),
    *({"dtype": "float32", "shape": [3], "data": "0/a/output"}, {"error": "E", "traceback": "T"}),
    *({"unsupported": "no"}, {"dtype": "object", "shape": [], "data": 7}, 2**63, "NaN"),
)

KNOWN = verdicts_known.Known(deviations.load(deviations.bundled()))


def original(folder: Path) -> tuple[bytes, list[Claim]]:
    """A record of a few claims, with answers made up from what is true, and the claims."""
    claims = [c for c in load_all([folder]) if not c.slow][:3]
    rng = np.random.default_rng(0)
    said: dict[str, Answer] = {}
    for c in claims:
        answers: dict[str, Any] = {}
        for what in request.asks(c):
            array = observe.encode(rng.normal(size=(1, 3, 3)).astype(np.float32))
            answers[what] = {"simple_rnn": {"kernel": array}} if what == "weights" else array
        said[c.name] = Answer(observe.decode(answers), said=answers)
    said[claims[-1].name] = Answer(error="the subject jax was ended by SIGSEGV\nlast words")
    path = Path(tempfile.mkdtemp()) / "record.npz"
    one = Observations(Setting(), known(IDENTITY), said, observations.digests(claims))
    other = dataclasses.replace(one, setting=Setting("xla", "float64"), identity=not_started("jax"))
    record.write(path, [one, other])
    return path.read_bytes(), claims


# --- damage as files suffer it --------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(7)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        spoilt = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 8, 100))):
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        return bytes(spoilt)
    if kind == 2:  # where the directory of the archive is: sizes, flags, methods, offsets
        spoilt = bytearray(data)
        at = data.find(b"PK\x01\x02", rng.randrange(len(data)))
        at = data.find(b"PK\x01\x02") if at < 0 else at
        spoilt[at + rng.randrange(46)] = rng.randrange(256)
        return bytes(spoilt)
    if kind == 3:
        a, b, length = (rng.randrange(len(data)) for _ in range(3))
        return data[:a] + data[b : b + length] + data[a:]
    if kind == 4:
        a, b = sorted(rng.randrange(len(data)) for _ in range(2))
        return data[:a] + data[b:]
    members = {i.filename: zipfile.ZipFile(io.BytesIO(data)).read(i) for i in _members(data)}
    name = rng.choice(list(members))
    if kind == 5:  # the header of an array
        at = rng.randrange(min(128, len(members[name])))
        junk = rng.choice((b"9", b"(", b"'O'", b"\x00", b"9" * 30, b"[" * 200, b"-", b"f4"))
        members[name] = members[name][:at] + junk + members[name][at + len(junk) :]
    else:
        other = rng.choice(list(members))
        members[name], members[other] = members[other], members[name]
        members[rng.choice(("x", "../x", "digest", "document", ".npy"))] = members.pop(name)
    return _packed(
        members, rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA))
    )


def _members(data: bytes) -> Sequence[zipfile.ZipInfo]:
    return zipfile.ZipFile(io.BytesIO(data)).infolist()


def _packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


# --- edited by somebody who knows how to make a digest --------------------------------------------


def edited(data: bytes, rng: random.Random) -> bytes:
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    document = json.loads(arrays["document"].tobytes())
    said = [reply for each in document["subjects"] for reply in each["answers"].values()]
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.2:
            name = rng.choice([name for name in arrays if name not in ("document", "digest")])
            arrays[name] = _other_array(arrays[name], rng)
        else:
            _edit(rng.choice(said) if rng.random() < 0.6 else document, rng)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.02:
        deep = rng.choice((20, 40, 900, 100_000))
        text = text.replace(": null", ": " + "[" * deep + "]" * rng.choice((0, deep)), 1)
    arrays["document"] = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    arrays["digest"] = np.frombuffer(record._digest(arrays), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()


def _edit(node: Any, rng: random.Random) -> None:
    """Something, somewhere in it, made something else."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(node[key], (dict, list)) and rng.random() < 0.8:
            node = node[key]
            continue
        what = rng.randrange(4)
        if what == 0:
            del node[key]
        elif what == 1 and isinstance(node, dict):
            node[rng.choice(("", "keras", "error", "\x1b[31m", "x", f"{key}x"))] = node.pop(key)
        else:
            node[key] = copy.deepcopy(rng.choice(ODD))
        return
    if isinstance(node, dict):
        node["x"] = rng.choice(ODD)
    else:
        node.append(rng.choice(ODD))


def _other_array(array: Any, rng: random.Random) -> Any:
    odd = (
        np.zeros(0),
        np.full(array.shape, np.nan),
        np.full(array.shape, -np.inf, np.float32),
        np.zeros(3, np.complex64),
        np.reshape(array, -1)[:1],
        np.array("text"),
        np.array([{}], object),
        np.zeros(rng.choice((1, 2, 1000, 3_000_000)), rng.choice((bool, np.int8, np.uint64))),
        np.asfortranarray(np.ones((2, 3))),
        np.arange(6, dtype=">f8").reshape(2, 3),
    )
    return odd[rng.randrange(len(odd))]


# --- what is done with one ------------------------------------------------------------------------


def use(path: Path, claims: Sequence[Claim], whole: Sequence[Judged]) -> None:
    """All that is ever done with a record. Raises RecordError if it is none."""
    judged = []
    for subject in record.read(path).subjects:
        verdicts = [
            (c, judge.judge(c, subject.answer(c), dtype=subject.setting.dtype)) for c in claims
        ]

        def again(c: Claim, dtype: str, said: Observations = subject) -> list[judge.Verdict]:
            return judge.judge(c, said.answer(c), dtype=dtype)

        marked = KNOWN.mark(verdicts, subject.identity, subject.setting, again)
        judged.append(Judged(subject.subject, marked, ("judge", str(path))))
    ours = [v.detail for each in judged for v in each.verdicts if judge.FAULT in v.detail]
    assert not ours, ours[0]
    out = io.StringIO()
    console = terminal.console(out, 60 + len(judged) * 20)
    if not judged:
        return
    for amount in reports_verdicts.Amount:
        reports_verdicts.terminal(judged[:1], console, amount=amount)
        reports_verdicts.terminal(judged, console, amount=amount)
    said = [out.getvalue(), documents.as_json(judged), coverage.table(claims, judged)]
    sides = [compare.Side(f"{path}#{i}", j, "") for i, j in enumerate([*whole, *judged])]
    compared = compare.compare(claims, sides)
    changes.terminal(compared, console, True)
    said += [out.getvalue(), documents.as_document(upgrades_document.document(compared))]
    markdown.markdown(compared)
    for text in said:
        assert terminal.plain(text) == text, "something that is no text was printed"
        text.encode()


def run(cases: int, seed: int, folder: Path, first: int = 0) -> Counter[str]:
    """How many were refused, were used, and failed otherwise; the failures are printed."""
    data, claims = original(folder)
    found: Counter[str] = Counter()
    slowest = (0.0, first)  # seconds of CPU, and of which case
    with tempfile.TemporaryDirectory() as there:
        path = Path(there) / "record.npz"
        path.write_bytes(data)
        use(path, claims, [])
        one = record.read(path).subjects[0]
        whole = [Judged(one.subject, [v for c in claims for v in judge.judge(c, one.answer(c))])]
        for number in range(first, first + cases):
            rng = random.Random(f"{seed}/{number}")
            path.write_bytes((damaged if rng.random() < 0.5 else edited)(data, rng))
            start = time.process_time()
            try:
                use(path, claims, whole)
                found["used"] += 1
            except RecordError as error:
                is_clear = str(error).startswith(str(path)) and len(str(error)) < 1000
                found["refused" if is_clear else "refused in bad words"] += 1
            except Exception as error:
                found[f"{type(error).__name__}"] += 1
                print(f"case {number} of seed {seed}:")
                traceback.print_exc(limit=-4, file=sys.stdout)
            slowest = max(slowest, (time.process_time() - start, number))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{cases} cases: {dict(found)}; slowest {slowest[0]:.1f} s (case {slowest[1]}), "
        f"at most {most} MB"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--claims", type=Path, default=files.bundled() / "article")
    given = parser.parse_args()
    found = run(given.cases, given.seed, given.claims, given.first)
    sys.exit(1 if found.keys() - {"used", "refused"} else 0)


if __name__ == "__main__":
    main()
