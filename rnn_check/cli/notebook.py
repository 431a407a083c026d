"""How does a user ask about claims in a notebook?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnn_check.asking.observations import Observations
from rnn_check.asking.request import Setting
from rnn_check.asking.run import Asked, Run, Target
from rnn_check.claims.files import load_what_loads, loads_each
from rnn_check.cli.chosen import known_deviations
from rnn_check.refusal import Refused, nearest
from rnn_check.reports import notebook
from rnn_check.reports.outcome import exit_code, sentence, verdicts_of
from rnn_check.subjects.ask import TIMEOUT, SubjectError
from rnn_check.subjects.asked.backends import BACKENDS, default_backend
from rnn_check.subjects.policy import NAMES
from rnn_check.subjects.process import amount
from rnn_check.verdicts.gathered import Verdicts
from rnn_check.verdicts.judge import Judged, Verdict


@dataclass(frozen=True)
class Verified:
    """What came of a run of claims; a notebook shows it as a table, with what differs explained."""

    judged: Sequence[Judged]

    @property
    def verdicts(self) -> list[Verdict]:
        return verdicts_of(self.judged)

    @property
    def ok(self) -> bool:
        """Whether all agrees, or is as known; not where nothing was compared."""
        return exit_code(self.verdicts) == 0

    def __str__(self) -> str:
        return sentence(self.judged)

    def _repr_html_(self) -> str:
        return notebook.run(self.judged)


def verify(
    *claims: str | Path, backend: str | None = None, mode: str = "eager", dtype: str = "float32"
) -> Verified:
    """Judge these claims against Keras, as `rnn-check verify` does.

    claims: paths of files and folders, or the texts of claims (what has a line break).
    Raises ValueError for a backend, mode or dtype that there is not, Refused for what is no claim,
    and SubjectError if Keras cannot be asked.
    """
    backend = backend or default_backend()
    for name, given, known in (("backend", backend, tuple(BACKENDS)), ("dtype", dtype, NAMES)):
        if given not in known:
            raise ValueError(f"{name}: unknown {given!r}{nearest(given, known)}")
    if mode not in BACKENDS[backend].modes:
        modes = ", ".join(BACKENDS[backend].modes)
        raise ValueError(f"mode: {backend} has no mode {mode!r}, only {modes}")
    found = [each for given in claims for each in _read(given)]
    if not found:
        raise ValueError("no claims are given")
    setting = Setting(mode, dtype)
    verdicts = Verdicts(found, known_deviations(None, False))
    with Run([Target(backend, (setting,))], timeout=TIMEOUT, most_memory=amount("50%")) as run:
        said = {}
        for asked in run.ask(found):
            verdicts.add(Asked(0, asked.claim, asked.answer, setting))
            said[asked.claim.name] = asked.answer
        if failed := next(iter(run.failures.values()), ""):
            raise SubjectError(failed)
        identity = run.subjects[0].identity
    return Verified([verdicts.judged(0, Observations(setting, identity, said), [])])


def _read(given: str | Path) -> list[Any]:
    if isinstance(given, str) and "\n" in given:
        return list(loads_each(given, Path.cwd() / "claim.toml"))
    claims, refused = load_what_loads((Path(given),))
    if refused:
        raise Refused("\n".join(map(str, refused)))
    return list(claims)
