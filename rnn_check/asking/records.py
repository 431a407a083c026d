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
import hashlib
import io
import json
import os
import re
import secrets
import stat
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from rnn_check.asking.observations import Digests, Observations
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims.written import Array
from rnn_check.numbers import npy
from rnn_check.refusal import Refused
from rnn_check.subjects import ask as observe
from rnn_check.subjects.identity import known
from rnn_check.subjects.process import cut, size
from rnn_check.subjects.whole import check_writable, written_whole

SCHEMA = 1
LARGEST = 1 << 28  # bytes of a record, unpacked: a hundred subjects that were asked everything
LARGEST_DOCUMENT = 1 << 26  # bytes of its document
MOST_ARRAYS = 500_000
DEEPEST = 32  # lists in lists of a reply


class RecordError(Refused):
    """A file that is no whole record, or cannot be written."""


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
    file = io.BytesIO(data)
    try:
        descr, order, shape = npy.header(file)
    except npy.Unreadable as error:
        raise ValueError(f"{member.filename!r} {error}") from None
    if not re.fullmatch(r"[<>|][biuf][1248]", descr):
        raise ValueError(f"{member.filename!r} is no array of numbers")
    return np.frombuffer(data, np.dtype(descr), offset=file.tell()).reshape(shape, order=order)


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
