"""What did the subjects say, in a file that is judged elsewhere?

A record is one `.npz`, never unpickled: every array that was observed under its own name, bit for
bit (bfloat16, which NumPy does not have, as uint16), one JSON document (who was asked how, each
claim's digests, each reply with its arrays pointed to, or why there is none), and a digest over all
of it, so that a record is either whole or refused.

    0/derived/tanh_layer/output    what subject 0 answered there
    document                       the JSON document, UTF-8
    digest                         SHA-256 of the document and of every array
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import re
import secrets
import stat
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from rnn_check.asking import plans, request
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims.claim import Claim
from rnn_check.claims.written import MOST_ARCHIVE, Array, beside
from rnn_check.refusal import ClaimError
from rnn_check.subjects import ask as observe
from rnn_check.subjects.asked import machine
from rnn_check.subjects.identity import Identity, Who, known
from rnn_check.subjects.policy import Policy
from rnn_check.subjects.process import cut, size
from rnn_check.subjects.whole import check_writable, written_whole

SCHEMA = 1
LARGEST = 1 << 28  # bytes of a record, unpacked: a hundred subjects that were asked everything
LARGEST_DOCUMENT = 1 << 26  # bytes of its document
MOST_ARRAYS = 500_000
DEEPEST = 32  # lists in lists of a reply
NOT_RECORDED = "not in the record"
CHANGED = "the claim asks something else now than when it was recorded"


class RecordError(Exception):
    """A file that is no whole record, or cannot be written; the message stands alone."""


class Digests(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a claim was when it was asked.

    file: SHA-256 of the claim's file and of what it points to.
    question: SHA-256 of what is asked of a subject, whatever is expected of its answer.
    """

    file: str
    question: str


@dataclass
class Observations:
    """What one subject said, claim by claim.

    claims: what each was when it was asked.
    """

    setting: Setting
    identity: Identity
    answers: dict[str, Answer] = field(default_factory=dict)
    claims: Mapping[str, Digests] = field(default_factory=dict)

    @property
    def subject(self) -> Who:
        """The subject in full: who was asked, and how."""
        outputs = {
            output["dtype"]
            for answer in self.answers.values()
            if isinstance(output := answer.said.get("output"), Mapping) and "dtype" in output
        }
        as_promised = Policy(self.setting.dtype).computed_in in outputs
        how = self.setting
        came = "" if as_promised else ", ".join(sorted(outputs))
        return self.identity.asked(how.mode, how.dtype, how.layer, came)

    def answer(self, claim: Claim) -> Answer:
        """What was answered to this very claim, or that it was not asked.

        A claim may expect something else than it did; what it asks has to be the same.
        """
        digests = self.claims.get(claim.name)
        if digests is None or claim.name not in self.answers:
            return Answer(skip=NOT_RECORDED)
        if digests.file != _file_digest(claim.file) and digests.question != _question(claim):
            return Answer(skip=CHANGED)
        return self.answers[claim.name]


# --- what is asked twice --------------------------------------------------------------------------


@dataclass
class Recalled:
    """What an environment that does not change said, and what exactly it was asked.

    asked: claim by claim, the digest of the plan that was sent.
    """

    setting: Setting
    identity: Identity | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)

    def answer(self, claim: Claim) -> Answer | None:
        """What was answered to this very question; None if that is not known."""
        if (answer := request.unasked(claim, self.setting)) is not None:
            return answer
        if self.asked.get(claim.name) != self._question(claim):
            return None
        return self.answers.get(claim.name)

    def keep(self, claim: Claim, answer: Answer) -> None:
        self.answers[claim.name] = answer
        self.asked[claim.name] = self._question(claim)

    def _question(self, claim: Claim) -> str:
        _, message = plans.planned(request.request(claim, request.asks(claim), self.setting))
        return message.digest


@dataclass(frozen=True)
class Memory:
    """A folder of what environments said: a record for each, on this machine, asked in one way.

    forget: whether everything is to be asked anew.
    """

    folder: Path
    forget: bool = False

    def recall(self, environment: str, backend: str, setting: Setting) -> Recalled:
        path = self._path(environment, backend, setting)
        if self.forget or not path.is_file():
            return Recalled(setting)
        try:
            (said,) = read(path).subjects
        except (RecordError, ValueError):  # of another version, or damaged: ask again
            return Recalled(setting)
        asked = {name: digests.question for name, digests in said.claims.items()}
        return Recalled(setting, said.identity, said.answers, asked)

    def keep(self, environment: str, backend: str, said: Recalled) -> None:
        """Not what failed with the process. That nothing can be kept is no failure: it is asked."""
        path = self._path(environment, backend, said.setting)
        answers = {
            name: answer
            for name, answer in said.answers.items()
            if name in said.asked and not answer.fault
        }
        digests = {name: Digests("", said.asked[name]) for name in answers}
        assert said.identity is not None
        with contextlib.suppress(OSError, RecordError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, [Observations(said.setting, said.identity, answers, digests)])

    def _path(self, environment: str, backend: str, setting: Setting) -> Path:
        """What may change an answer besides the question is in the name."""
        settings = {k: v for k, v in os.environ.items() if machine.SETTINGS.match(k)}
        parts = [
            *(environment, backend, dataclasses.asdict(setting), settings),
            *(machine.cpu_model(), machine.available_cores(), _programs()),
        ]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:20]}.npz"


@functools.cache
def _programs() -> str:
    """A digest of the programs that ask and answer."""
    asked = sorted(Path(machine.__file__).parent.glob("*.py"))
    planned = {inspect.getfile(plan) for plan in plans.QUESTIONS.values()}
    texts = (file.read_bytes() for file in (*asked, *map(Path, sorted(planned))))
    return hashlib.sha256(b"".join(texts)).hexdigest()


# --- digests --------------------------------------------------------------------------------------


def digests(claims: Iterable[Claim]) -> dict[str, Digests]:
    """Claim by claim, under its name; ClaimError if two have the same."""
    found: dict[str, Digests] = {}
    files: dict[str, Path] = {}
    for claim in claims:
        other = files.setdefault(claim.name, claim.file)
        if claim.name in found:
            raise ClaimError(
                claim.file, "", f"its claim {claim.name!r} is called like one of {other}; "
                "in a record each has its own name (name a folder above both)",
            )  # fmt: skip
        found[claim.name] = Digests(_file_digest(claim.file), _question(claim))
    return found


def _file_digest(file: Path) -> str:
    try:
        return _digest_of(file, file.stat().st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(4096)
def _digest_of(file: Path, modified: int) -> str:
    """Of the file as it is at that time; many claims may stand in one."""
    text = file.read_bytes()
    digest = hashlib.sha256(text)
    for name in _pointed_to(tomllib.loads(text.decode())):
        with contextlib.suppress(ValueError):  # what is no such file was not read for the claim
            digest.update(beside(file, name, MOST_ARCHIVE))
    return digest.hexdigest()


def _pointed_to(node: Any) -> Iterator[str]:
    """The files that a claim's arrays are read from, and what else it may call npz."""
    if isinstance(node, dict):
        if isinstance(node.get("npz"), str):
            yield node["npz"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _pointed_to(child)


def _question(claim: Claim) -> str:
    asked = request.request(claim, request.asks(claim), Setting())
    for how in ("ask", "of", "mode", "dtype"):
        asked.pop(how, None)
    text = json.dumps(asked, default=observe.encode, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


# --- the file -------------------------------------------------------------------------------------


class _Reply(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    observed: dict[str, Any] | None = None
    error: str = ""
    skip: str = ""


_Mode = Literal["eager", "function", "xla"]
_Dtype = Literal[
    "float32", "float64", "floatx_float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"
]


class _Setting(msgspec.Struct, forbid_unknown_fields=True):
    mode: _Mode
    dtype: _Dtype
    layer: str | None
    slow: bool


class _Subject(msgspec.Struct, forbid_unknown_fields=True):
    identity: Any  # as `known` reads it
    setting: _Setting
    answers: dict[str, _Reply]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    rnn_check: str
    complete: bool
    claims: dict[str, Digests]
    subjects: list[_Subject]


@dataclass(frozen=True)
class Record:
    """complete: whether everything was asked that was to be."""

    subjects: list[Observations]
    complete: bool = True


def write(path: Path, subjects: Sequence[Observations], *, complete: bool = True) -> None:
    """Write the record, whole or not at all. All subjects were asked the same claims."""
    arrays: dict[str, Array] = {}
    document = _Document(
        schema=SCHEMA,
        rnn_check=version("rnn_check"),
        complete=complete,
        claims={name: digests for each in subjects for name, digests in each.claims.items()},
        subjects=[
            _Subject(
                identity=each.identity,
                setting=msgspec.convert(dataclasses.asdict(each.setting), _Setting),
                answers={
                    claim: _Reply(
                        None
                        if answer.observed is None
                        else _without_arrays(dict(answer.said), f"{index}/{claim}", arrays),
                        answer.error,
                        answer.skip,
                    )
                    for claim, answer in each.answers.items()
                },
            )
            for index, each in enumerate(subjects)
        ],
    )
    # not msgspec's JSON, which has no NaN: a reply may hold one
    text = json.dumps(msgspec.to_builtins(document), ensure_ascii=False).encode()
    arrays["document"] = np.frombuffer(text, np.uint8)
    arrays["digest"] = np.frombuffer(_digest(arrays), np.uint8)
    try:
        with written_whole(path) as new, new.open("xb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from None


class Writer:
    """Writes a record as it grows, so that little is lost whatever ends the run.

    subjects: what is recorded, as far as it goes at the time.

    Raises RecordError if the file could not be written: known before anybody is asked.
    """

    def __init__(self, path: Path, subjects: Sequence[Observations]) -> None:
        self.path = path
        self.subjects = subjects
        if path.exists() and not path.is_file():
            raise RecordError(f"{path}: is no regular file, and would be replaced by one")
        try:
            check_writable(path)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from None
        self._due = 0.0

    def grown(self) -> None:
        """To be told of every answer. Now and then the record is written, as an interrupted one.

        That this fails may pass, and `close` says so if it does not.
        """
        start = time.monotonic()
        if start < self._due:
            return
        with contextlib.suppress(RecordError):
            write(self.path, self.subjects, complete=False)
        took = time.monotonic() - start
        self._due = start + max(_EVERY, _SPARE * took)

    def close(self, *, complete: bool) -> None:
        """Write the whole. Raises RecordError if that is not possible, and says what there is."""
        try:
            write(self.path, self.subjects, complete=complete)
        except RecordError as error:
            # what was asked for hours is not to be lost to a full disk
            refuge = Path(tempfile.gettempdir()) / f"rnn_check-{secrets.token_hex(4)}.npz"
            try:
                write(refuge, self.subjects, complete=complete)
            except RecordError:
                raise error from None
            raise RecordError(f"{error}; it stands in {refuge}") from None


_EVERY = 5.0  # seconds from one writing to the next, at least
_SPARE = 20  # times what the last one took


def read(path: Path) -> Record:
    """The record; RecordError if it is not whole, has been edited, or is none.

    Whatever is wrong with the file is that one error, in bounded time and memory.
    """
    try:
        return _read(path)
    except RecordError:
        raise
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # zipfile, zlib and json raise a dozen kinds at damaged bytes
        words = cut(f"{type(error).__name__}: {error}", 300)
        raise RecordError(f"{path}: cannot be read, it was cut short or edited: {words}") from None


def _read(path: Path) -> Record:
    arrays = _read_arrays(path)
    stored = arrays.pop("digest", np.empty(0)).tobytes()
    if "document" not in arrays or not stored:
        raise RecordError(f"{path}: not a record of rnn_check")
    if stored != _digest(arrays):
        raise RecordError(f"{path}: is not as it was written (its digest differs); record it anew")
    text = arrays.pop("document").tobytes()
    if re.search(rb"\\u[dD][89a-fA-F]", text):  # which `write` never writes
        raise RecordError(f"{path}: not a record of rnn_check: half a character in its text")
    said = json.loads(text)
    if isinstance(said, dict) and said.get("schema") != SCHEMA:
        schema = cut(repr(said.get("schema")), 40)
        raise RecordError(f"{path}: this version reads schema {SCHEMA}, the record says {schema}")
    try:
        document = msgspec.convert(said, _Document)
        subjects = [
            Observations(
                setting=Setting(**msgspec.structs.asdict(each.setting)),
                identity=known(each.identity),
                answers={name: _answer(reply, arrays) for name, reply in each.answers.items()},
                claims=document.claims,
            )
            for each in document.subjects
        ]
    except (ValueError, KeyError, TypeError) as error:
        words = cut(str(error), 300)
        raise RecordError(f"{path}: not a record of rnn_check: {words}") from None
    return Record(subjects, document.complete)


def _read_arrays(path: Path) -> dict[str, Array]:
    # a FIFO is not waited for, and a device has no end
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RecordError(f"{path}: is no regular file")
        if not zipfile.is_zipfile(file):
            raise RecordError(f"{path}: not a record of rnn_check, or cut short")
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if len(members) > MOST_ARRAYS or unpacked > LARGEST:
                raise RecordError(
                    f"{path}: holds {len(members):,} arrays, {size(unpacked)} unpacked; a record "
                    f"has no more than {MOST_ARRAYS:,} and {size(LARGEST)}"
                )
            return {m.filename.removesuffix(".npy"): _array(archive, m) for m in members}


_HEADER = re.compile(  # of what NumPy writes of numbers
    rb"\x93NUMPY(?:\x01\x00(?P<short>..)|\x02\x00(?P<long>....))"
    rb"\{'descr': '(?P<dtype>[<>|][biuf][1248])', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,18}, ?)*\d{0,18})\), \} *\n",
    re.DOTALL,
)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """A member, if it is what `np.savez` writes of an array of numbers.

    Its header says how much memory it takes, so it is read here before any is; NumPy would also
    evaluate it.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename!r} is compressed in an unknown way")
    if member.filename == "document.npy" and member.file_size > LARGEST_DOCUMENT:
        raise ValueError(f"its document has more than {size(LARGEST_DOCUMENT)}")
    data = archive.read(member)
    header = _HEADER.match(data[:1000])
    if header is None:
        raise ValueError(f"{member.filename!r} is no array of numbers")
    start = header.start("short") + 2 if header["short"] else header.start("long") + 4
    if start + int.from_bytes(header["short"] or header["long"], "little") != header.end():
        raise ValueError(f"{member.filename!r} has a damaged header")
    shape = tuple(int(number) for number in re.findall(rb"\d+", header["shape"]))
    array = np.frombuffer(data, np.dtype(header["dtype"].decode()), offset=header.end())
    order: Literal["F", "C"] = "F" if header["fortran"] == b"True" else "C"
    return array.reshape(shape, order=order)


def _digest(arrays: Mapping[str, Array]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays.keys() - {"digest"}):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {arrays[name].shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.digest()


def _is_array(said: Any) -> bool:
    return isinstance(said, dict) and said.keys() == {"dtype", "shape", "data"}


def _without_arrays(said: Any, name: str, arrays: dict[str, Array]) -> Any:
    """The reply with each encoded array in it moved to `arrays`, and its name in its place."""
    if _is_array(said):
        bits = "uint16" if said["dtype"] == "bfloat16" else said["dtype"]
        arrays[name] = observe.decode({**said, "dtype": bits})
        return {**said, "data": name}
    if isinstance(said, dict):
        return {key: _without_arrays(value, f"{name}/{key}", arrays) for key, value in said.items()}
    if isinstance(said, list):
        return [_without_arrays(value, f"{name}/{i}", arrays) for i, value in enumerate(said)]
    return said


def _with_arrays(said: Any, arrays: Mapping[str, Array], deep: int = 0) -> Any:
    """The reply as the subject said it."""
    if deep > DEEPEST:
        raise ValueError(f"a reply of more than {DEEPEST} lists in lists")
    if _is_array(said):
        stored = arrays[said["data"]]
        raw = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
        return {**said, "data": base64.b64encode(raw).decode("ascii")}
    if isinstance(said, dict):
        return {key: _with_arrays(value, arrays, deep + 1) for key, value in said.items()}
    if isinstance(said, list):
        return [_with_arrays(value, arrays, deep + 1) for value in said]
    return said


def _answer(reply: _Reply, arrays: Mapping[str, Array]) -> Answer:
    if reply.observed is None:
        return Answer(error=reply.error, skip=reply.skip)
    said = _with_arrays(reply.observed, arrays)
    return Answer(observe.decode(said), said=said)
