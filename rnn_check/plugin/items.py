"""What does pytest run of a claim file?  An item for each number that the claim says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.plugin.session import Subject, of
from rnn_check.refusal import Refused
from rnn_check.reports.explaining import explanation
from rnn_check.reports.subject import header
from rnn_check.reports.terminal import plain
from rnn_check.verdicts.judge import AGREE, NOT_RUN, Verdict


class Wrong(Exception):
    """What is wrong, in words that stand alone."""


def collected(file: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The claim file as pytest collects it; None of what stands beside claims and is none."""
    if file.parent.resolve() == files.known():
        return None
    return ClaimFile.from_parent(parent, path=file)


class ClaimFile(pytest.File):
    """A file with a claim, or with as many as its [vary] makes."""

    def collect(self) -> Iterator[ClaimItem]:
        try:
            session = of(self.config)
            claims = files.load_each(self.path)
        except (Refused, pytest.UsageError) as error:
            raise self.CollectError(plain(str(error))) from None
        if session.not_installed and not self.config.option.collectonly:
            raise self.CollectError(session.not_installed)
        seen = Counter[str]()
        for claim in claims:
            suffix = claim.name[claim.name.find("[") :] if len(claims) > 1 else ""
            for subject in session.subjects:
                whose = f"[{subject.name}]" if len(session.subjects) > 1 else ""
                for index, expectation in enumerate(claim.expectations):
                    name = f"{expectation.name}{suffix}{whose}"
                    seen[name] += 1
                    name += f" ({seen[name]})" if seen[name] > 1 else ""
                    yield ClaimItem.from_parent(
                        self, name=name, claim=claim, index=index, subject=subject
                    )


class ClaimItem(pytest.Item):
    """One expectation of a claim, asked of one subject."""

    def __init__(self, *, claim: Claim, index: int, subject: Subject, **given: Any) -> None:
        super().__init__(**given)
        self.claim, self.index, self.subject = claim, index, subject

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.claim.name} · {self.name}"

    def runtest(self) -> None:
        """Passes, fails, is skipped with a reason, or is a strict xfail where it is known."""
        if self.claim.slow and not self.subject.session.slow:
            pytest.skip(f"{self.nodeid}: slow; --rnn-check-slow judges it too")
        judged = self.subject.judged(self.claim)
        verdict, who = judged.verdicts[self.index], header(judged.subject)
        self.user_properties += list(_properties(verdict, who))
        if verdict.verdict == NOT_RUN:
            pytest.skip(f"{self.nodeid}: {plain(verdict.detail)}")
        known = plain(verdict.known or verdict.deviation)
        if verdict.verdict == AGREE and known:
            known = f"agrees now, update what is known: {known}"
        if verdict.is_known or (verdict.verdict == AGREE and known):
            self.add_marker(pytest.mark.xfail(reason=known, strict=True, raises=Wrong))
        if verdict.verdict != AGREE:
            lines = explanation(verdict, judged.rerun)
            raise Wrong(plain("\n".join([*lines[:-1], f"  subject   {who}", *lines[-1:]])))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Wrong):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


def _properties(verdict: Verdict, who: str) -> Iterator[tuple[str, object]]:
    """For the JUnit report, where a number may be looked up."""
    yield "verdict", verdict.verdict
    if verdict.ratio is not None:
        yield "ratio", verdict.ratio
    if verdict.bits is not None:
        yield "bits", verdict.bits
    yield "source", plain(verdict.source)
    yield "subject", who
