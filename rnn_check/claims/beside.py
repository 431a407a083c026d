"""What stands in the files beside a claim, of which no more is read than it may hold?

Arrays of an `.npz` are counted before they are made, and never unpickled.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from rnn_check.numbers.npy import Unreadable, header
from rnn_check.refusal import ClaimError

MOST_AXES = 8
MOST_ARCHIVE = 20_000_000  # bytes of the .npz files that a file names, together
MOST_DIRECTORY = 2**16  # bytes of an .npz file's list of arrays: some hundreds of them


def regular_bytes(file: Path, most: int) -> bytes:
    """What stands in a regular file of no more than `most` bytes.

    Raises OSError for what cannot be opened, and ValueError, which says why, for what is no regular
    file (a folder, a pipe, a device) or is larger.  Never waits for a pipe's other end.
    """
    with open(file, "rb", opener=lambda path, how: os.open(path, how | _NO_WAIT)) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("is not a regular file")
        text = opened.read(most + 1)
    if len(text) > most:
        raise ValueError(f"is larger than {most:,} bytes, the most that is read")
    return text


def beside(claim: Path, name: str, most: int) -> bytes:
    """What stands in the file of that name beside a claim; OSError and ValueError as above.

    Nothing else is opened for a claim: no link, no path to elsewhere.
    """
    path = claim.parent / name
    if not PLAIN_NAME.fullmatch(name) or path.is_symlink():
        raise ValueError("is a link; a file stands beside the claim itself")
    return regular_bytes(path, most)


_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
PLAIN_NAME = re.compile(r"[\w][\w .+-]{0,99}")  # of a file in the same folder


class Archive:
    """An .npz file as NumPy writes it.  Raises ValueError, which says why, for anything else.

    NumPy's own reader evaluates headers, and makes what they say before it looks how much is there;
    here an array's dtype, shape and size are known, and fit each other, before any of it is read.
    """

    def __init__(self, content: bytes) -> None:
        end = content[-22:]  # of a ZIP file without a comment: how long its list of members is
        if end[:4] != b"PK\5\6" or end[20:] != b"\0\0" or content[-42:-38] == b"PK\6\7":
            raise ValueError("cannot be read: it is no npz file as numpy.savez writes it")
        if int.from_bytes(end[12:16], "little") > MOST_DIRECTORY:
            raise ValueError("cannot be read: it holds too many arrays")
        self.size = len(content)
        try:
            self.zip = zipfile.ZipFile(io.BytesIO(content))
            self.arrays = {name.removesuffix(".npy"): name for name in self.zip.namelist()}
        except Exception as error:  # zipfile raises half a dozen kinds, and more with each release
            raise ValueError(f"cannot be read: {error}") from None
        self.read: dict[str, npt.NDArray[np.float64]] = {}

    def array(self, name: str, count: Callable[[int], None]) -> npt.NDArray[np.float64]:
        """The array of that name as float64; `count` is told how many numbers it will have."""
        if name in self.read:
            count(self.read[name].size)
            return self.read[name]
        member = self.zip.getinfo(self.arrays[name])
        if member.flag_bits & 1 or member.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise ValueError("cannot be read: it is encrypted, or packed as NumPy packs nothing")
        try:
            with self.zip.open(member) as opened:
                dtype, order, shape = _described(opened)
                numbers = math.prod(shape)
                count(numbers)
                data = opened.read(numbers * dtype.itemsize + 1)
        except (ClaimError, Unreadable):
            raise
        except Exception as error:
            raise ValueError(f"cannot be read: {error or type(error).__name__}") from None
        if len(data) != numbers * dtype.itemsize:
            raise ValueError(f"cannot be read: its data do not fill the shape {shape}")
        array = np.frombuffer(data, dtype).reshape(shape, order=order)
        if dtype.kind in "iu" and (array > 2**53).any() | (array < -(2**53)).any():
            raise ValueError("holds integers beyond 2^53, of which float64 has not all")
        if not np.isfinite(array).all():
            raise ValueError("holds numbers that are not finite")
        self.read[name] = array.astype(np.float64)
        return self.read[name]


def _described(file: IO[bytes]) -> tuple[np.dtype[Any], Literal["C", "F"], tuple[int, ...]]:
    """dtype, order and shape of the array that follows, as numpy.save writes them."""
    descr, order, shape = header(file)
    if not re.fullmatch(r"[<>|=]([iu][1248]|f[248])", descr):
        python = " (Python objects, which are never read)" if "O" in descr else ""
        raise Unreadable(f"holds {descr}{python}, not numbers of at most 64 bits")
    if 0 in shape or len(shape) > MOST_AXES:
        raise Unreadable(f"has the shape {shape}; at least one number on at most {MOST_AXES} axes")
    return np.dtype(descr), order, shape
