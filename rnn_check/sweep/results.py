"""Where do the outcomes of a sweep stand, so that it goes on where it was ended?

A folder: `sweep.json` says what is swept, `cases/` holds a row for each case and subject, in
Parquet files that are written whole and never changed, `findings/` what was made of them.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rnn_check.refusal import Refused
from rnn_check.sweep.space import VERSION, Space
from rnn_check.sweep.work import Outcome

_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.int64()) for name in ("seed", "index")),
        *(
            pa.field(name, pa.string())
            for name in ("subject", "packages", "verdict", "what", "place", "detail", "known")
        ),
        *(pa.field(name, pa.float64()) for name in ("ratio", "bits", "seconds")),
    ]
)


@dataclass(frozen=True)
class About:
    """What is swept: another of these, other results."""

    version: int
    seed: int
    axes: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, seed: int, space: Space) -> About:
        return cls(VERSION, seed, {name: tuple(values) for name, values in space.axes.items()})


@dataclass(frozen=True)
class Written:
    """A finding, as it stands in the folder. script: "" where none could be written."""

    name: str
    title: str
    notes: str
    claim: str
    script: str


class Results:
    """The results in a folder, which is made, or holds those of the same sweep."""

    def __init__(self, folder: Path, about: About) -> None:
        self.folder = folder
        self.cases, self.findings = folder / "cases", folder / "findings"
        file = folder / "sweep.json"
        try:
            there = msgspec.json.decode(file.read_bytes(), type=About)
        except FileNotFoundError:
            if folder.exists() and any(folder.iterdir()):
                raise Refused(f"{folder} holds something else; name a folder that is not there") \
                    from None  # fmt: skip
            self.cases.mkdir(parents=True)
            _write(file, msgspec.json.format(msgspec.json.encode(about)))
        except (msgspec.DecodeError, OSError) as error:
            raise Refused(f"{file} cannot be read: {error}") from None
        else:
            if there != about:
                raise Refused(f"{folder} holds another sweep: {_difference(there, about)}")
        self._parts = len(list(self.cases.glob("*.parquet")))

    def done(self) -> set[tuple[str, int]]:
        """(subject, index) of all that were asked."""
        return {(row["subject"], row["index"]) for row in self._rows(["subject", "index"])}

    def outcomes(self) -> Iterator[Outcome]:
        for row in self._rows(_SCHEMA.names):
            yield Outcome(**row)

    def written(self) -> Iterator[Written]:
        """What was found until now, by name."""
        for file in sorted(self.findings.glob("*.claim.toml")):
            name, claim = file.name.removesuffix(".claim.toml"), file.read_text(encoding="utf-8")
            script, said = file.with_name(f"{name}.py"), tomllib.loads(claim)
            text = script.read_text(encoding="utf-8") if script.is_file() else ""
            yield Written(name, str(said["title"]), str(said["notes"]), claim, text)

    def _rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for part in sorted(self.cases.glob("*.parquet")):
            yield from pq.read_table(part, columns=list(columns)).to_pylist()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Kept for good once this returns."""
        rows = [dataclasses.asdict(each) for each in outcomes]
        if not rows:
            return
        part = self.cases / f"{self._parts:06}.parquet"
        beside = part.with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), beside)
        os.replace(beside, part)
        self._parts += 1


def _difference(there: About, about: About) -> str:
    for name in ("version", "seed", "axes"):
        old, new = getattr(there, name), getattr(about, name)
        if old != new and name != "axes":
            return f"its {name} is {old}, not {new}"
    axis = next(name for name in about.axes if there.axes.get(name) != about.axes[name])
    return f"its --space has {axis}={','.join(there.axes.get(axis, ()))}"


def _write(file: Path, content: bytes) -> None:
    beside = file.with_suffix(".tmp")
    beside.write_bytes(content)
    os.replace(beside, file)
