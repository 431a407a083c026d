"""What is kept in the cache, and what of it may go?"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rnn_check.refusal import Refused
from rnn_check.subjects.asked.machine import cache_folder
from rnn_check.subjects.environments.environment import MARK, PARTIAL, About, about
from rnn_check.subjects.environments.locks import at_once, cache, environments, is_used
from rnn_check.subjects.environments.programs import words
from rnn_check.subjects.environments.requirement import WordError


@dataclass(frozen=True)
class Cached:
    """An environment in the cache.

    about: None if it is not whole. used: when it was used last. size: in bytes; files shared with
    uv's own cache count.
    """

    key: str
    about: About | None
    used: datetime
    size: int


def cached() -> list[Cached]:
    """The environments in the cache, the last used first. Files that are none are left out."""
    found = []
    for folder in environments().glob("*"):
        with contextlib.suppress(OSError):
            if not folder.is_dir():
                continue
            mark = folder / MARK
            used = (mark if mark.exists() else folder).stat().st_mtime
            told = None if folder.name.startswith(PARTIAL) else about(folder)
            found.append(
                Cached(folder.name, told, datetime.fromtimestamp(used, UTC), _size(folder))
            )
    return sorted(found, key=lambda each: (each.used, each.key), reverse=True)


class Unremoved(Refused):
    """What cannot be removed from the cache."""


def keyed(found: Sequence[Cached], keys: Iterable[str]) -> list[Cached]:
    """Those that the keys, or their first characters, name. Raises WordError."""
    chosen = []
    for key in keys:
        meant = [each for each in found if key and each.key.startswith(key)]
        if len(meant) != 1:
            which = f"{len(meant)} environments have" if meant else "no environment has"
            raise WordError(f"{which} a key that starts with {key!r}; `cache list` shows them")
        chosen += meant
    return list({each.key: each for each in chosen}.values())


def unused(
    found: Sequence[Cached], older_than: timedelta | None = None, size: int | None = None
) -> list[Cached]:
    """Those not used for so long; and all but the last used that together are no larger.

    What is in use counts among the last used.
    """
    now = datetime.now(UTC)
    chosen, kept = [], 0
    used = {each.key: _is_taken(each.key) for each in found}
    for each in sorted(found, key=lambda each: (used[each.key], each.used), reverse=True):
        old = older_than is not None and now - each.used > older_than
        goes = old or (size is not None and kept + each.size > size)
        if goes:
            chosen.append(each)
        if used[each.key] or not goes:
            kept += each.size
    return chosen


def _is_taken(name: str) -> bool:
    """Whether a run uses or installs it now; where no file can be locked, nobody knows."""
    with contextlib.suppress(OSError, NotImplementedError), at_once(_key(name)) as free:
        return not free or is_used(name)
    return False


def _key(name: str) -> str:
    """Of a folder in the cache, also of one that is half-made."""
    return name.removeprefix(PARTIAL)[:20]


@dataclass
class Cleared:
    """freed: bytes that there were. left: what another run needs, and how; words of a line."""

    freed: int = 0
    left: list[str] = field(default_factory=list)


def remove(chosen: Iterable[Cached]) -> Cleared:
    """Remove these environments, but those that a run installs or uses. Raises Unremoved."""
    cleared = Cleared()
    for each in chosen:
        with _unremoved(environments() / each.key), at_once(_key(each.key)) as free:
            if not free:
                cleared.left.append(f"{each.key} is being installed by another run")
            elif is_used(each.key):
                cleared.left.append(f"{each.key} is in use by another run")
            else:
                (environments() / each.key / MARK).unlink(missing_ok=True)  # now it is not whole
                shutil.rmtree(environments() / each.key)
                cleared.freed += each.size
    return cleared


def forget(older_than: timedelta) -> int:
    """Remove resolutions and answers that are older; how many bytes there were."""
    freed, now = 0, datetime.now(UTC).timestamp()
    for name in ("resolutions", "answers"):
        for file in (cache() / name).glob("*"):
            with _unremoved(file):
                about = file.lstat()
                if now - about.st_mtime > older_than.total_seconds():
                    file.unlink()
                    freed += about.st_size
    return freed


def clear() -> Cleared:
    """Remove everything: environments, resolutions, answers, what jax compiled.

    But what another run installs or uses. Raises Unremoved. Locks stay: somebody may wait for one.
    """
    cleared = remove(cached())
    compiled = Path(cache_folder("jax")).parent
    for folder in (cache() / "resolutions", cache() / "answers", compiled):
        if folder.is_dir():
            size = _size(folder)
            with _unremoved(folder):
                shutil.rmtree(folder)
                cleared.freed += size
    for file in environments().glob("*"):  # strays; a folder may have come to be installed in
        if not file.is_dir():
            with _unremoved(file):
                size = file.lstat().st_size
                file.unlink()
                cleared.freed += size
    with contextlib.suppress(OSError):  # that is not empty, or not there
        environments().rmdir()
    return cleared


@contextlib.contextmanager
def _unremoved(path: Path) -> Iterator[None]:
    """An error in here says which entry of the cache it is about: rmtree names a mere part."""
    try:
        yield
    except FileNotFoundError:  # somebody else removed it
        return
    except (OSError, NotImplementedError) as error:
        file = getattr(error, "filename", None)
        part = f" ({file})" if file else ""
        raise Unremoved(f"{path} cannot be removed: {words(error)}{part}") from None


def _size(folder: Path) -> int:
    size = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # removed meanwhile
                size += os.lstat(os.path.join(root, name)).st_size
    return size
