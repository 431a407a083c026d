"""Which subjects does this session of pytest ask, and what does it think of their answers?"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import pytest

from rnn_check.asking import run as asking_run
from rnn_check.asking.observations import Observations
from rnn_check.asking.request import Setting
from rnn_check.asking.run import Asked, Run, Target
from rnn_check.claims.claim import Claim
from rnn_check.claims.files import load_each, loads_each
from rnn_check.cli.chosen import known_deviations
from rnn_check.cli.commands import BadInput
from rnn_check.cli.options import BACKENDS, MODES
from rnn_check.cli.subjects import Subjects
from rnn_check.refusal import Refused, nearest
from rnn_check.reports.explaining import explanation
from rnn_check.reports.outcome import exit_code
from rnn_check.reports.subject import header
from rnn_check.reports.terminal import plain
from rnn_check.subjects.ask import TIMEOUT
from rnn_check.subjects.policy import NAMES
from rnn_check.subjects.process import amount
from rnn_check.verdicts.gathered import Verdicts
from rnn_check.verdicts.judge import ERROR, NOT_RUN, Judged, Verdict


class Session:
    """The subjects that the options choose, each backend in a process that is kept warm.

    Raises UsageError for options that do not fit.
    """

    def __init__(self, config: pytest.Config) -> None:
        option = config.getoption
        for word, known in (("backend", (*BACKENDS, "all")), ("mode", MODES), ("dtype", NAMES)):
            for given in option(f"rnn_check_{word}"):
                if given not in known:
                    hint = nearest(given, known)
                    raise pytest.UsageError(f"--rnn-check-{word}: unknown {given!r}{hint}")
        self.slow: bool = option("rnn_check_slow")
        self.known_file: str | None = option("rnn_check_known")
        self.how = Subjects(
            framework="keras",
            backends=tuple(option("rnn_check_backend")),
            modes=tuple(option("rnn_check_mode")),
            dtypes=tuple(option("rnn_check_dtype")) or ("float32",),
            layer=None,
            pattern=None,
            slow=self.slow,
            options=True,
            timeout=TIMEOUT,
            memory=amount("50%"),
        )
        try:
            file = Path(self.known_file) if self.known_file else None
            self.known = known_deviations(file, whole=False)
            self.targets = self.how.targets()
        except (BadInput, Refused) as error:
            said = str(error)
            ours = f"--rnn-check-{said[2:]}" if said.startswith("--") else said
            raise pytest.UsageError(ours) from None
        each = [(i, t, s) for i, t in enumerate(self.targets) for s in t.settings]
        self.subjects = [
            Subject(self, index, number, target, setting)
            for index, (number, target, setting) in enumerate(each)
        ]

    @cached_property
    def run(self) -> Run:
        """The processes, which start when they are first needed."""
        return Run(self.targets, timeout=self.how.timeout, most_memory=self.how.memory)

    @property
    def not_installed(self) -> str:
        """What has to be installed to ask these subjects; empty if all is there."""
        return "\n".join(
            f"the backend {target.backend} is not installed; "
            f'python -m pip install "rnn_check[{target.backend}]" brings it'
            for target in self.targets
            if not asking_run.installed(target.backend)
        )

    def close(self) -> None:
        if "run" in vars(self):
            self.run.stop()


class Subject:
    """One subject of the session, as the fixture `keras_subject` hands it out."""

    def __init__(
        self, session: Session, index: int, number: int, target: Target, setting: Setting
    ) -> None:
        self.session = session
        self._index, self._number, self._target, self._setting = index, number, target, setting
        self._judged: dict[int, tuple[Claim, Judged]] = {}

    @property
    def name(self) -> str:
        """What tells it from the others: "jax-xla", "torch-eager-float64"."""
        setting = self._setting
        dtype = [setting.dtype] if len({s.dtype for s in self._target.settings}) > 1 else []
        return "-".join([self._target.backend, setting.mode, *dtype])

    @property
    def who(self) -> str:
        """Versions, mode and dtype, on one line; of the backend alone before it was asked."""
        setting = self._setting
        identity = self.session.run.subjects[self._index].identity
        return header(identity.asked(setting.mode, setting.dtype))

    def judge(self, claim: str | Path) -> list[Verdict]:
        """The verdicts on a claim: the path of its file, or its text. ClaimError if it is none."""
        if isinstance(claim, Path):
            claims = load_each(claim)
        else:
            claims = loads_each(claim, Path.cwd() / "claim.toml")
        return [verdict for each in claims for verdict in self._once(each).verdicts]

    def check(self, claim: str | Path) -> None:
        """Fail the test, with the explanation, unless all agrees or is as known.

        Nothing compared fails too.
        """
        __tracebackhide__ = True
        verdicts = self.judge(claim)
        if exit_code(verdicts) == 0:
            return
        wrong = [v for v in verdicts if v.is_red or (v.verdict == ERROR and not v.is_known)]
        texts = []
        for each in wrong:  # a claim in a test has no file, and only the test asks it again
            what, file, *rest, _ = explanation(each)
            beside = [file] if isinstance(claim, Path) else []
            texts.append(plain("\n".join([what, *beside, *rest])))
        reasons = [f"{v.what}: {v.detail}" for v in verdicts if v.verdict == NOT_RUN]
        raise AssertionError("\n\n".join(texts or ["nothing was compared", *reasons]))

    def judged(self, claim: Claim) -> Judged:
        """The verdicts on all that a claim expects; it is asked once."""
        if id(claim) not in self._judged:
            self._judged[id(claim)] = claim, self._once(claim)
        return self._judged[id(claim)][1]

    def _once(self, claim: Claim) -> Judged:
        session, run = self.session, self.session.run
        answer = run.answer(self._number, claim, self._setting)
        identity = run.subjects[self._index].identity
        said = Observations(self._setting, identity, {claim.name: answer})
        verdicts = Verdicts([claim], session.known)
        verdicts.add(Asked(0, claim, answer, self._setting))
        words = [os.path.relpath(claim.file), *session.how.rerun(said)]
        words += ["--known", session.known_file] if session.known_file else []
        return verdicts.judged(0, said, words)


_SESSION = pytest.StashKey[Session]()


def of(config: pytest.Config) -> Session:
    """The one session of this pytest. Raises UsageError for options that do not fit."""
    if _SESSION not in config.stash:
        config.stash[_SESSION] = Session(config)
    return config.stash[_SESSION]


def close(config: pytest.Config) -> None:
    """End its processes, if there are any."""
    if _SESSION in config.stash:
        config.stash[_SESSION].close()
