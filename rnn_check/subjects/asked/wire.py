"""How do arrays and lines pass the pipe, and does anything outlive the host?

One JSON document a line, both ways. Whatever a framework prints goes to stderr, because file
descriptor 1 points there.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LONGEST = 2_000  # characters of what an exception says
MARK = "RNN_CHECK_PROCESS"  # in the environment of a process, and of what it starts
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bfloat16", "float16", "float32", "float64"),
)


def encode(array: npt.ArrayLike) -> dict[str, Any]:
    """An array, bit for bit, as {"dtype", "shape", "data": base64 of little-endian C order}."""
    values = np.asarray(array, order="C")
    name = values.dtype.name
    raw = values.view(np.uint16) if name == "bfloat16" else values
    data = raw.astype(raw.dtype.newbyteorder("<"), copy=False).tobytes()
    return {
        "dtype": name,
        "shape": list(values.shape),
        "data": base64.b64encode(data).decode("ascii"),
    }


def decode(encoded: dict[str, Any]) -> Array:
    """The array again. NumPy has no bfloat16, so one arrives as float32, which holds it exactly.

    Raises ValueError if dtype, shape and data do not belong together.
    """
    name, shape = encoded["dtype"], encoded["shape"]
    if name not in DTYPES:
        raise ValueError(f"an array of unknown dtype {name!r}")
    stored = np.dtype("uint16" if name == "bfloat16" else name)
    raw = np.frombuffer(base64.b64decode(encoded["data"], validate=True), stored.newbyteorder("<"))
    values = raw.astype(stored)
    if name == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)


def description(error: Exception) -> dict[str, str]:
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    if len(message) > LONGEST:  # a layer's message may hold whole arrays
        message = f"{message[:LONGEST]} … ({len(message) - LONGEST:,} characters more)"
    return {"error": message, "traceback": traceback.format_exc()[-10 * LONGEST :]}


def end_with_the_host() -> None:
    """From here on nothing of this process outlives the host, however that ends.

    A process beside this one waits until nobody holds the other end of the pipe that requests come
    through, and then ends the group and what left it with the mark in its environment, and removes
    its temporary files: also while this process is stopped, inside a call that never returns, or
    gone and survived by what it forked. It is nobody's child, since a layer may wait for all of its
    own. Where there is no fork, the end of the requests is the end.
    """
    if not hasattr(os, "fork") or os.getpgrp() != os.getpid():  # a shell's group is not ours to end
        return
    here, there = os.pipe()  # whose other end is held by this process and what it forks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside NumPy's threads: it calls nothing of it
        child = os.fork()
        if child == 0:
            guardian = os.fork()
            if guardian:
                os._exit(0)
    if child:
        os.waitpid(child, 0)
        os.close(here)
        return
    group = os.getpgrp()
    os.setpgid(0, 0)  # so that it outlives what it ends
    os.closerange(1, here)
    os.closerange(here + 1, max(there + 1, 256))
    hung_up = select.poll()
    hung_up.register(0, 0)
    hung_up.register(here, 0)
    if 0 in [descriptor for descriptor, _ in hung_up.poll()]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        if MARK in os.environ:
            _end_the_marked()
        folder = os.environ.get("TMPDIR", "")
        if os.path.basename(folder).startswith("rnn_check-"):  # which the host made for it
            shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _end_the_marked() -> None:
    """Kill whatever else was started with the mark of this process, until there is none."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    for _ in range(100):  # passes, each of which may find what was forked meanwhile
        others = set()
        for path in glob.glob("/proc/[0-9]*/environ"):
            with contextlib.suppress(OSError), open(path, "rb") as environment:
                if mark in environment.read().split(b"\0"):  # what has ended has none
                    others.add(int(path.split("/")[2]))
        others.discard(os.getpid())
        for pid in others:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not others:
            return
        time.sleep(0.01)


def serve(hello: Callable[[], dict[str, Any]], reply: Callable[[str], dict[str, Any]]) -> None:
    """Say who is there, then answer line by line; `hello` imports the framework.

    Never returns once it has said hello: a framework's own goodbye takes half a second and can
    crash.
    """
    # From here on nothing that is printed, by whomever, can reach the pipe.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(document: dict[str, Any]) -> None:
        replies.write(json.dumps(document) + "\n")
        replies.flush()

    try:
        say({"hello": hello()})
    except ModuleNotFoundError as error:
        missing = {} if error.name is None else {"missing": error.name}
        say({**description(error), **missing})
        return
    except Exception as error:
        say(description(error))
        return
    for line in requests:
        say(reply(line))
    sys.stderr.flush()
    os._exit(0)
