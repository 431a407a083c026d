"""How is a file written so that it is there as a whole, or as it was before?"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Another path beside this one, to be written to; it takes its place if all goes well.

    A link stays one. Nothing is left beside it, whatever is raised meanwhile; OSError if it cannot
    take the place.
    """
    new = _new_beside(path)
    try:
        yield new
        os.replace(new, path.resolve())
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raises OSError if `written_whole` could not write it; the file itself stays as it is."""
    new = _new_beside(path)
    new.write_bytes(b"as good as any")
    new.unlink()


def _new_beside(path: Path) -> Path:
    return path.resolve().with_name(f".rnn_check-{secrets.token_hex(6)}.tmp")
