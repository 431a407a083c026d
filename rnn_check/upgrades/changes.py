"""What changed: in a verdict, in what is said, in the last bits?

Subjects that were asked the same claims, held against the first of them, the baseline. Numbers are
compared where a verdict rests on them, see `pairs`; words (counts, shapes, defaults, exceptions) as
they stand.

Numbers that are drawn at random are not compared: between two runs of one subject they differ. Nor
is what one of two subjects was not asked (a record may not hold it), nor the sign of a zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.claim import Claim
from rnn_check.subjects.identity import Who
from rnn_check.subjects.policy import Policy
from rnn_check.upgrades.pairs import Pair, Reach
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict

# kinds of changes, the gravest first; BEYOND: a number moved further than rounding may explain
# (whatever the verdicts), DRIFT: not so far, or nobody can say how far it might
WORSE, BEYOND, BETTER, OTHER, SAID, DRIFT = "worse", "beyond", "better", "other", "said", "drift"
KINDS = (WORSE, BEYOND, BETTER, OTHER, SAID, DRIFT)
_WRONG = (DIFFER, ERROR)


@dataclass(frozen=True)
class Side:
    """One subject of a comparison.

    word: as it was typed. failure: why it could not be asked, if it could not. notes: what else
    has to be known of it (what a record does not hold). options: with which it is asked again.
    """

    word: str
    judged: Judged
    failure: str = ""
    notes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def subject(self) -> Who:
        return self.judged.subject

    @property
    def name(self) -> str:
        """TensorFlow 2.13.1; Keras 3.12.0 on jax 0.7.2."""
        s = self.subject
        if s.did_not_start:
            return self.word
        version = re.split(r"[-+]", s.backend_version)[0]
        if not s.is_keras:
            return f"{s.backend} {version}"
        keras, backend = f"Keras {s.keras}", s.backend
        if backend == "tensorflow":
            return f"TensorFlow {version} with {keras}"
        return f"{keras} on {backend}" + ("" if backend == "numpy" else f" {version}")


@dataclass(frozen=True)
class Change:
    """How one subject's answer to one expectation differs from the baseline's.

    said: what it says otherwise, "tanh → linear". pairs: the numbers that can be compared.
    promised: whether it should hold of every subject, so that there is a worse and a better.
    """

    before: Verdict
    after: Verdict
    said: str
    pairs: tuple[Pair, ...]
    promised: bool = True

    @cached_property
    def drifted(self) -> list[Pair]:
        """The numbers of which a bit differs, the largest distance first."""
        pairs = [pair for pair in self.pairs if pair.differ.any()]
        return sorted(pairs, key=lambda pair: -float(np.abs(pair.ulps).max()))

    @property
    def is_compared(self) -> bool:
        """Whether at least one of the two said anything."""
        return not self.before.verdict == self.after.verdict == NOT_RUN

    @property
    def kind(self) -> str:
        """Of the change; "" if there is none. Worse is what agreed, better what agrees now."""
        before, after = self.before.verdict, self.after.verdict
        if before != after:
            if not self.promised:
                return OTHER
            if before == AGREE and after in _WRONG:
                return WORSE
            return BETTER if after == AGREE and before in _WRONG else OTHER
        if self.share is not None and self.share > 1:
            return BEYOND
        if self.said:
            return SAID
        return DRIFT if self.drifted else ""

    @property
    def is_known(self) -> bool:
        """Whether it got worse in a way that is known of the subject."""
        return self.kind == WORSE and self.after.is_known

    @property
    def ulp(self) -> float | None:
        """The largest distance in units of the last place; None if no numbers can be compared."""
        if not self.pairs:
            return None
        return max(float(np.abs(pair.ulps).max(initial=0)) for pair in self.pairs)

    @cached_property
    def share(self) -> float | None:
        """The largest distance as a share of what rounding may explain."""
        return max((pair.share for pair in self.drifted if pair.share is not None), default=None)

    @property
    def unbounded(self) -> bool:
        """Whether it has a number of which nobody knows how far rounding may go."""
        return any(pair.unbounded for pair in self.drifted)

    @property
    def signs(self) -> bool:
        """Whether a zero has another sign, which is no change."""
        return any(pair.signs for pair in self.pairs)

    @property
    def where(self) -> str:
        return self.drifted[0].place if self.drifted else ""

    @property
    def timestep(self) -> int | None:
        steps = [pair.timestep for pair in self.drifted if pair.timestep is not None]
        return min(steps, default=None)


@dataclass(frozen=True)
class Row:
    """One expectation: a verdict and a change for each subject; None where it was not judged.

    The baseline has no change. way: how it was asked, if not as everything was, see `beside`.
    """

    claim: Claim
    what: str
    verdicts: tuple[Verdict | None, ...]
    changes: tuple[Change | None, ...]
    way: str = ""

    @property
    def name(self) -> str:
        """What the claim is called."""
        return f"{self.claim.name} ({self.way})" if self.way else self.claim.name

    @property
    def kinds(self) -> list[str]:
        return ["" if change is None else change.kind for change in self.changes]

    @property
    def gravest(self) -> str:
        """The gravest kind of change in it; "" if there is none."""
        kinds = self.kinds
        return next((kind for kind in KINDS if kind in kinds), "")

    @property
    def is_known(self) -> bool:
        """Whether all of it that got worse is known of the subjects at which it did."""
        return all(c.is_known for c in self.changes if c is not None and c.kind == WORSE)

    @property
    def ulp(self) -> float | None:
        found = [c.ulp for c in self.changes if c is not None and c.ulp is not None]
        return max(found, default=None)

    @property
    def where(self) -> str:
        """The place of the largest distance, or what is said otherwise."""
        changes = [change for change in self.changes if change is not None]
        drifted = [change for change in changes if change.drifted]
        if drifted:
            return max(drifted, key=lambda change: change.ulp or 0).where
        return next((change.said for change in changes if change.said), "")


@dataclass(frozen=True)
class Compared:
    """Subjects side by side, the baseline first. options: with which all are judged again.

    parts: the comparisons that it was joined of, if it was.
    """

    sides: Sequence[Side]
    rows: Sequence[Row]
    options: tuple[str, ...] = ()
    parts: tuple[Compared, ...] = ()

    @property
    def changed(self) -> list[Row]:
        return [row for row in self.rows if row.gravest]

    def of_kind(self, *kinds: str) -> list[Row]:
        return [row for row in self.rows if set(kinds) & set(row.kinds)]

    @cached_property
    def claims(self) -> int:
        """How many claims were compared: of which the baseline and another said something."""
        return len({r.name for r in self.rows for c in r.changes if c and c.is_compared})

    @cached_property
    def uncompared(self) -> list[Side]:
        """Subjects that could be asked, and of which nothing was compared all the same."""
        return [
            side
            for i, side in enumerate(self.sides)
            if i and not side.failure and not self.sides[0].failure
            if not any(c is not None and c.is_compared for c in (r.changes[i] for r in self.rows))
        ]

    def rerun(self, row: Row) -> list[str]:
        """The command that asks for a row that changed again, of the subjects that matter."""
        for part in self.parts:
            if part.rows and part.rows[0].way == row.way:
                return part.rerun(row)
        last = next(i for i in reversed(range(len(row.kinds))) if row.kinds[i])
        both = self.sides[0], self.sides[last]
        options = max((side.options for side in both), key=len)
        words = [side.word for side in both]
        return ["rnn-check", "compare", *words, *self.options, *options, "-k", row.claim.name]

    def first(self, rows: Iterable[Row], kinds: Sequence[str]) -> Side | None:
        """The first subject at which one of the rows shows such a change."""
        at = [i for row in rows for i, kind in enumerate(row.kinds) if kind in kinds]
        return self.sides[min(at)] if at else None

    @cached_property
    def steps(self) -> list[Compared]:
        """Each subject against the one before it."""
        if self.parts:
            return [joined(each) for each in zip(*(p.steps for p in self.parts), strict=True)]
        claims = list({row.claim.name: row.claim for row in self.rows}.values())
        pairs = zip(self.sides, self.sides[1:], strict=False)
        way = self.rows[0].way if self.rows else ""
        return [compare(claims, pair, way=way) for pair in pairs]

    def names(self) -> list[str]:
        """What each subject is called."""
        return names(self.sides)

    def exit_code(self, fail_on: str = DIFFER) -> int:
        """1 if a verdict is worse than the baseline's (or, fail_on "drift", anything changed).

        3 if a subject could not be asked, or nothing of one was compared; fail_on "never" leaves
        that.
        """
        kinds = {DIFFER: (WORSE,), DRIFT: (*KINDS,)}.get(fail_on, ())
        if self.of_kind(*kinds):
            return 1
        failed = any(side.failure for side in self.sides)
        return 3 if failed or self.uncompared or not self.claims else 0


def names(sides: Sequence[Side]) -> list[str]:
    """What each is called; as it was typed where two would be called alike."""
    found = [side.name for side in sides]
    return [
        side.word if found.count(name) > 1 else name
        for side, name in zip(sides, found, strict=True)
    ]


def joined(parts: Sequence[Compared]) -> Compared:
    """The same subjects, asked in several ways: as the first of them has them."""
    rows = [row for part in parts for row in part.rows]
    return Compared(parts[0].sides, rows, parts[0].options, tuple(parts))


def compare(
    claims: Sequence[Claim], sides: Sequence[Side], options: tuple[str, ...] = (), way: str = ""
) -> Compared:
    """Every expectation of the claims, on every subject against the first."""
    policies = [side.subject.dtype for side in sides]
    found = [{(v.claim, v.what): v for v in side.judged.verdicts} for side in sides]
    rows = []
    for claim in claims:
        reach = Reach(claim)
        for e in claim.expectations:
            verdicts = tuple(of.get((claim.name, e.name)) for of in found)
            changes = tuple(
                None
                if not i or verdicts[0] is None or v is None or sides[i].failure or sides[0].failure
                else _change(reach, verdicts[0], v, e.promised, policies[0], policies[i])
                for i, v in enumerate(verdicts)
            )
            rows.append(Row(claim, e.name, verdicts, changes, way))
    return Compared(sides, rows, options)


def _change(
    reach: Reach, before: Verdict, after: Verdict, promised: bool, *policies: str
) -> Change:
    if ERROR in (before.verdict, after.verdict):
        exceptions = [_exception(v) for v in (before, after)]
        said = _otherwise(*exceptions) if before.verdict == after.verdict else ""
        return Change(before, after, said, (), promised)
    both = [Policy(policy).computed_in for policy in policies]
    words, pairs = [], []
    for b, a in _alike(before.comparisons, after.comparisons):
        if a.what == "delta":  # how gradients come about; what is returned of them is compared
            continue
        if a.got.dtype.kind not in "fc":
            if b.got.tolist() != a.got.tolist():
                words.append(f"{a.what}: {_otherwise(str(b.got), str(a.got))}")
        elif b.got.shape != a.got.shape:
            words.append(f"shape of {a.what}: {_otherwise(str(b.got.shape), str(a.got.shape))}")
        elif a.got.size and not _drawn(reach.claim, before, after):
            pairs.append(Pair(b, a, both[0], partial(reach, a.what, *both)))
    return Change(before, after, "; ".join(dict.fromkeys(words)), tuple(pairs), promised)


def _alike(
    before: Sequence[Comparison], after: Sequence[Comparison]
) -> Iterator[tuple[Comparison, Comparison]]:
    """The comparisons of the same thing; not those of the author's number against the truth."""
    seen: dict[tuple[str, str], list[Comparison]] = {}
    for b in before:
        seen.setdefault((b.who, b.what), []).append(b)
    for a in after:
        same = seen.get((a.who, a.what))
        if a.who != "claim" and same:
            yield same.pop(0), a


def _otherwise(before: str, after: str) -> str:
    return "" if before == after else f"{before} → {after}"


def _exception(v: Verdict) -> str:
    """The name of the exception that a verdict of error quotes."""
    named = re.search(r"\b(\w*(?:Error|Exception|Interrupt|Exit))\b", v.detail)
    return named[1] if named else v.detail.partition("\n")[0]


def _drawn(claim: Claim, before: Verdict, after: Verdict) -> bool:
    """Whether the numbers are random: of dropout, or of weights that the framework draws.

    Those of a seed are not, unless the seed is ignored.
    """
    what = after.what
    if what.startswith("reproducible"):
        return DIFFER in (before.verdict, after.verdict)
    return what.startswith(("dropout", "one_update")) or (
        claim.weights is None and what in _OF_DRAWN
    )


_OF_DRAWN = {
    f"{what} of {name}"
    for what in ("orthogonal", "within_glorot_uniform")
    for name in ("kernel", "recurrent_kernel", "bias")
}
