"""Who makes, uses or removes an environment now?

Each who makes or removes one locks its key, and each user a file of its own. What a process locked
is free when it has ended, however that was.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import platformdirs

from rnn_check.subjects.environments.programs import INSTALLERS

LOOK = 0.5  # seconds from one look at what is waited for to the next


def cache() -> Path:
    """The user's cache folder of rnn_check."""
    return platformdirs.user_cache_path("rnn_check", appauthor=False)


def environments() -> Path:
    return cache() / "environments"


def _lock(name: str) -> filelock.BaseFileLock:
    (cache() / "locks").mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(cache() / "locks" / f"{name}.lock")


@contextlib.contextmanager
def locked(key: str, tell: Callable[[str], None] = lambda stage: None) -> Iterator[None]:
    """Only one thread of one process at a time is in here with that key.

    Raises OSError or NotImplementedError if there can be no lock, Failed if it is interrupted.
    """
    lock = _lock(key)
    while True:
        try:
            lock.acquire(timeout=LOOK)
            break
        except filelock.Timeout:
            tell("waiting for another run, which installs it")
            INSTALLERS.check()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def at_once(name: str) -> Iterator[bool]:
    """Whether nobody else is in there."""
    lock = _lock(name)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def using(key: str) -> Iterator[None]:
    """In here the environment of that key is in use.

    To be entered only by whoever holds the lock of the key, under which others look.
    """
    name = f"{key}.{secrets.token_hex(4)}"
    try:
        with at_once(name):
            yield
    finally:
        _forget(name)


def is_used(key: str) -> bool:
    """Whether somebody is using it, for whoever holds the lock of the key."""
    for file in (cache() / "locks").glob(f"{glob.escape(key)}.*.lock"):
        with at_once(file.stem) as free:
            if not free:
                return True
        _forget(file.stem)  # whoever it was, was killed
    return False


def _forget(name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(cache() / "locks" / f"{name}.lock")
