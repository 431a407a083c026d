"""Where do claims stand, and which does a file hold?

A claim file is one TOML document: an experiment (layers, weights, input) and what somebody says
its numbers are.  It is data: nothing in it is evaluated.  Whatever is wrong with a file is raised
as one `ClaimError` that names the file, the key, what was wrong and what would be right, before
much time or memory is spent on it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from rnn_check.claims.beside import regular_bytes
from rnn_check.claims.build import Builder
from rnn_check.claims.claim import Claim
from rnn_check.claims.conversion import converted
from rnn_check.claims.document import MOST_BYTES, parsed
from rnn_check.claims.several import experiments
from rnn_check.claims.variants import variants
from rnn_check.claims.written import Reader
from rnn_check.refusal import ClaimError


def bundled() -> Path:
    """The folder of the claim files that come with rnn_check."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "fixtures"
    return inside if inside.is_dir() else package.parent / "fixtures"


def known() -> Path:
    """The folder of what subjects are known to get wrong: beside the claims, and no claims."""
    return bundled() / "known"


def find(paths: Iterable[Path | str]) -> list[tuple[str, Path]]:
    """(claim name, file) of every claim file named or inside a folder named, sorted, each once.

    What a folder holds of `known()` is left out. Raises ClaimError for a path that does not exist,
    a folder with no claims, a file that is not TOML by its name.
    """
    found: dict[str, tuple[str, Path]] = {}
    no_claims = known()
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(f for f in path.rglob("*.toml") if f.parent.resolve() != no_claims)
            if not files:
                raise ClaimError(path, "", "the folder holds no claim files (*.toml)")
        elif path.is_file():
            if path.suffix != ".toml":
                raise ClaimError(path, "", "a claim file's name ends in .toml")
            files = [path]
        else:
            raise ClaimError(path, "", "no such file or folder")
        for file in files:
            # a link stays what it is called, and is read once with what it leads to
            found.setdefault(
                os.path.realpath(file), (_name(file, path), file.parent.resolve() / file.name)
            )
    return list(found.values())


def _name(file: Path, root: Path) -> str:
    resolved = file.parent.resolve() / file.name
    for base in (bundled(), root.resolve()):
        if resolved.is_relative_to(base) and resolved != base:
            return resolved.relative_to(base).with_suffix("").as_posix()
    return file.stem


def load(file: Path | str, name: str | None = None) -> Claim:
    """Load a file that holds one claim; ClaimError if anything is wrong with it, or it varies."""
    claims = load_each(file, name)
    if len(claims) != 1:
        raise ClaimError(file, "vary", f"the file holds {len(claims)} claims, one was wanted")
    return claims[0]


def load_each(file: Path | str, name: str | None = None) -> list[Claim]:
    """The claims of one file: one, or as many as its [vary] has combinations.

    Raises ClaimError, whatever happens while it is read: a fault of ours as well costs this file
    alone.
    """
    try:
        return read_each(file, name)
    except ClaimError:
        raise
    except Exception as fault:
        problem = f"cannot be read, by a fault of rnn_check's own: {type(fault).__name__}: {fault}"
        raise ClaimError(file, "", problem) from fault


def read_each(file: Path | str, name: str | None = None) -> list[Claim]:
    """As `load_each`, but a fault of ours comes out as it is."""
    file = Path(file)
    if file.is_symlink() and Path(os.path.realpath(file)).parent != file.parent.resolve():
        raise ClaimError(file, "", "is a link that leads out of its folder; name the file itself")
    text = text_of(file, MOST_BYTES)
    return loads_each(text, file, name if name is not None else _name(file, file))


def text_of(file: Path, most: int) -> str:
    """What stands in a file of no more than `most` bytes; ClaimError if it cannot be read."""
    try:
        return regular_bytes(file, most).decode()
    except UnicodeDecodeError as error:
        raise ClaimError(file, "", f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ClaimError(file, "", f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ClaimError(file, "", str(error)) from None


def loads(text: str, file: Path | str = "claim.toml", name: str | None = None) -> Claim:
    """The claim written in `text`; `file` is where it says it stands (npz files lie beside it)."""
    return loads_each(text, file, name)[0]


def loads_each(text: str, file: Path | str = "claim.toml", name: str | None = None) -> list[Claim]:
    """The claims written in `text`, as `read_each`."""
    file = Path(file)
    document, values = parsed(text, file)
    name = name if name is not None else file.stem
    read, states = Reader(file), [0]
    claims: list[Claim] = []
    each = list(experiments(document, file, values))
    for one in each:
        try:
            # what the schema refuses is refused, though [vary] might mend it
            converted(one.document, file)
            for suffix, varied in variants(one.document, file, one.values * len(each)):
                written = converted(varied, file)
                own = dataclasses.replace(read, integers=written.reading.integers)
                claims.append(Builder(own, written, name + one.suffix + suffix, states).claim())
        except ClaimError as error:
            raise one.placed(error) from None
    return claims


def load_what_loads(
    paths: Iterable[Path | str] = (),
) -> tuple[list[Claim], list[ClaimError]]:
    """Every claim in the files and folders named, the bundled ones if none is.

    And what is wrong with each file that cannot be loaded, which stops no other.
    """
    claims: list[Claim] = []
    refused: list[ClaimError] = []
    for name, file in find(list(paths) or [bundled()]):
        try:
            claims += load_each(file, name)
        except ClaimError as error:
            refused.append(error)
    return claims, refused
