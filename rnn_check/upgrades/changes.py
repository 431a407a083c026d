"""What changed: in a verdict, in what is said, in the last bits?

Subjects that were asked the same claims, held against the first of them, the baseline. Numbers are
compared where a verdict rests on them: bit for bit, then in units of the last place, then as a
share of the distance that rounding may put between two subjects that are both right (the sum of
their bounds). Words (counts, shapes, defaults, exceptions) are compared as they stand.

Numbers that are drawn at random are not compared: between two runs of one subject they differ. Nor
is what one of two subjects was not asked (a record may not hold it), nor the sign of a zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from rnn_check.certificates.comparison import Comparison, bits
from rnn_check.claims import truth
from rnn_check.claims.claim import Claim
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.subjects.identity import Who
from rnn_check.subjects.policy import Policy
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict

SCHEMA = 1
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
class Pair:
    """The same numbers of the baseline and of another subject."""

    before: Comparison
    after: Comparison
    arithmetic: str
    reach: Callable[[], Array | None] = field(repr=False)

    @property
    def what(self) -> str:
        return self.after.what

    @cached_property
    def ulps(self) -> Array:
        """Signed distances, after − before, in units of the last place; inf at a NaN of one."""
        arithmetic = formats.arithmetic(self.arithmetic)
        found = formats.ulps(self.after.got, self.before.got, arithmetic)
        return np.where(self.differ, np.where(np.isnan(found), np.inf, found), 0.0)

    @cached_property
    def differ(self) -> Array:
        """Where another number stands; a NaN is the same as any other, and −0 as 0."""
        before, after = self.before.got, self.after.got
        return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))

    @property
    def signs(self) -> bool:
        """Whether a zero has another sign."""
        before, after = (np.asarray(each.got, np.float64) for each in (self.before, self.after))
        return bool((bits(before) != bits(after))[(before == 0) & (after == 0)].any())

    @cached_property
    def allowed(self) -> Array | None:
        """How far apart rounding may put them; None where that is not known.

        Two that are both within their bounds of one truth are no further apart than the sum. What
        is held against something that moved itself (a step against the one before it, a layer
        against what it was before it was saved) has the reach of all steps instead.
        """
        one_truth = self.before.expected, self.after.expected
        if self.after.who == "subject" and np.array_equal(*one_truth, equal_nan=True):
            return self.before.bound + self.after.bound
        reach = self.reach()
        return None if reach is None or reach.shape != self.ulps.shape else reach

    @cached_property
    def _shares(self) -> Array | None:
        """Of each number that moved, |after − before| / allowed; NaN where that is not known."""
        if self.allowed is None:
            return None
        allowed = np.broadcast_to(self.allowed, self.differ.shape)[self.differ]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            apart = np.abs(self.after.got - self.before.got)[self.differ]
            shares = np.where(np.isnan(apart), np.inf, apart) / allowed
        return np.where(np.isfinite(allowed), shares, np.nan)

    @property
    def share(self) -> float | None:
        """The largest known, infinite where nothing is allowed; None if there is none."""
        known = np.empty(0) if self._shares is None else self._shares[~np.isnan(self._shares)]
        return float(known.max()) if known.size else None

    @property
    def unbounded(self) -> bool:
        """Whether a number moved of which nobody knows how far rounding may go."""
        shares = self._shares
        return bool(self.differ.any()) and (shares is None or bool(np.isnan(shares).any()))

    @property
    def place(self) -> str:
        """Where the largest distance is: "states at sample 0, timestep 2, unit 1"."""
        at = np.unravel_index(int(np.argmax(np.abs(self.ulps))), self.ulps.shape)
        named = zip(self.after.axes, self.after.coordinates, strict=True)
        where = ", ".join(f"{axis} {index[at]}" for axis, index in named)
        return f"{self.what} at {where}" if where else self.what

    @property
    def timestep(self) -> int | None:
        """The first at which they part."""
        if "timestep" not in self.after.axes or not self.differ.any():
            return None
        return int(self.after.coordinates[self.after.axes.index("timestep")][self.differ].min())


@dataclass(frozen=True)
class Change:
    """How one subject's answer to one expectation differs from the baseline's.

    said: what it says otherwise, "tanh → linear". pairs: the numbers that can be compared.
    """

    before: Verdict
    after: Verdict
    said: str
    pairs: tuple[Pair, ...]

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

    The baseline has no change.
    """

    claim: Claim
    what: str
    verdicts: tuple[Verdict | None, ...]
    changes: tuple[Change | None, ...]

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
    """Subjects side by side, the baseline first. options: with which all are judged again."""

    sides: Sequence[Side]
    rows: Sequence[Row]
    options: tuple[str, ...] = ()

    @property
    def changed(self) -> list[Row]:
        return [row for row in self.rows if row.gravest]

    def of_kind(self, *kinds: str) -> list[Row]:
        return [row for row in self.rows if set(kinds) & set(row.kinds)]

    @cached_property
    def claims(self) -> int:
        """How many claims were compared: of which the baseline and another said something."""
        return len({r.claim.name for r in self.rows for c in r.changes if c and c.is_compared})

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
        claims = list({row.claim.name: row.claim for row in self.rows}.values())
        pairs = zip(self.sides, self.sides[1:], strict=False)
        return [compare(claims, pair) for pair in pairs]

    def names(self) -> list[str]:
        """What each subject is called; as it was typed where two would be called alike."""
        names = [side.name for side in self.sides]
        return [
            side.word if names.count(name) > 1 else name
            for side, name in zip(self.sides, names, strict=True)
        ]

    @property
    def sentence(self) -> str:
        """What changed, in plain words."""
        return " ".join(_sentences(self))

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


def compare(
    claims: Sequence[Claim], sides: Sequence[Side], options: tuple[str, ...] = ()
) -> Compared:
    """Every expectation of the claims, on every subject against the first."""
    policies = [side.subject.dtype for side in sides]
    found = [{(v.claim, v.what): v for v in side.judged.verdicts} for side in sides]
    rows = []
    for claim in claims:
        reach = _Reach(claim)
        for e in claim.expectations:
            verdicts = tuple(of.get((claim.name, e.name)) for of in found)
            changes = tuple(
                None
                if not i or verdicts[0] is None or v is None or sides[i].failure or sides[0].failure
                else _change(reach, verdicts[0], v, policies[0], policies[i])
                for i, v in enumerate(verdicts)
            )
            rows.append(Row(claim, e.name, verdicts, changes))
    return Compared(sides, rows, options)


def _change(reach: _Reach, before: Verdict, after: Verdict, *policies: str) -> Change:
    if ERROR in (before.verdict, after.verdict):
        exceptions = [_exception(v) for v in (before, after)]
        said = _otherwise(*exceptions) if before.verdict == after.verdict else ""
        return Change(before, after, said, ())
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
    return Change(before, after, "; ".join(dict.fromkeys(words)), tuple(pairs))


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


class _Reach:
    """How far from the truth a right subject may be, of what is certified step by step.

    Derived when it is first asked for, and once for all subjects.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.of: dict[str, truth.Truth] = {}

    def __call__(self, what: str, *arithmetics: str) -> Array | None:
        """The sum of what subjects of these arithmetics may be off by."""
        found = [self._of(what, arithmetic) for arithmetic in arithmetics]
        known = [each for each in found if each is not None]
        return sum(known) if len(known) == len(found) else None  # type: ignore[return-value]

    def _of(self, what: str, arithmetic: str) -> Array | None:
        return self.of.setdefault(arithmetic, truth.Truth(self.claim, arithmetic)).reach(what)


# --- in words -------------------------------------------------------------------------------------


def _sentences(compared: Compared) -> Iterator[str]:
    baseline, *others = compared.sides
    for side in compared.sides:
        if side.failure:
            yield f"{side.word} could not be asked."
    if baseline.failure or all(side.failure for side in others):
        return
    if not compared.claims:
        yield "Nothing was compared."
        return
    for side in compared.uncompared:
        yield f"Nothing of {side.word} was compared."
    worse = compared.of_kind(WORSE)
    told = []
    for rows, kinds, word, verb in (
        ([row for row in worse if not row.is_known], (WORSE,), "verdict", "got worse"),
        (compared.of_kind(BEYOND), (BEYOND,), "answer", _moved(compared)),
        ([row for row in worse if row.is_known], (WORSE,), "verdict", "got worse as is known"),
        (compared.of_kind(BETTER), (BETTER,), "verdict", "got better"),
        (compared.of_kind(OTHER, SAID), (OTHER, SAID), "answer", "changed otherwise"),
    ):
        if rows:
            told.append(f"{_many(len(rows), word)} {verb}{_first(compared, rows, kinds)}")
    differs = bool(told)
    drifted = compared.of_kind(DRIFT)
    bounded: list[Row] = []
    unbounded: list[Row] = []
    for row in drifted:
        (unbounded if any(c.unbounded for c in _of_kind(row, DRIFT)) else bounded).append(row)
    for rows, how, end in (
        (bounded, "changed in the last bits", ""),
        (unbounded, "changed", ", where no bound is known"),
    ):
        if rows:
            most = max(c.ulp or 0.0 for row in rows for c in _of_kind(row, DRIFT))
            names = {row.claim.name for row in rows}
            told.append(
                f"{len(names):,} of {compared.claims:,} claims {how}, at most {ulps(most)}{end}"
                f"{_first(compared, rows, (DRIFT,))}"
            )
    signs = any(c.signs for row in compared.rows for c in row.changes if c is not None)
    many = _many(compared.claims, "claim")
    if not told:
        yield f"Nothing differs, {'but the signs of zeros' if signs else 'not a bit'}, in {many}."
        return
    if not differs:
        told.insert(0, "Nothing differs")
    if not drifted:
        told.append(f"no other {'number' if signs else 'bit'} changed in {many}")
    yield "; ".join(told) + "."


def _moved(compared: Compared) -> str:
    shares = [c.share or 0.0 for r in compared.rows for c in _of_kind(r, BEYOND)]
    most = max(shares, default=0.0)
    some = "some " * math.isinf(most)
    return f"moved further than rounding may explain ({some}{times(most)})"


def times(share: float) -> str:
    """How far beyond what rounding may explain, in words."""
    return "where nothing may move" if math.isinf(share) else f"up to {share:,.2g} times as far"


def _of_kind(row: Row, kind: str) -> list[Change]:
    return [change for change in row.changes if change is not None and change.kind == kind]


def _first(compared: Compared, rows: Sequence[Row], kinds: Sequence[str]) -> str:
    """ ", first in TensorFlow 2.20", if there are several subjects to be the first of."""
    side = compared.first(rows, kinds)
    if side is None or len(compared.sides) < 3:
        return ""
    return f", first in {compared.names()[compared.sides.index(side)]}"


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}" + "s" * (number != 1)


def ulps(number: float) -> str:
    """ "3 ulps"; "1 ulp"; "1.2e+05 ulps"; without an end where one of two numbers is none."""
    if math.isinf(number):
        return "∞ ulps"
    shown = f"{number:,.0f}" if number < 1e5 else f"{number:.1e}"
    return f"{shown} ulp" + "s" * (number != 1)


# --- as JSON --------------------------------------------------------------------------------------


def document(compared: Compared) -> dict[str, Any]:
    """The JSON document; no NaN or infinity stands in it."""
    return {
        "schema": SCHEMA,
        "subjects": [
            {
                "word": side.word,
                "name": name,
                **side.subject.told(),
                "failure": side.failure or None,
                "notes": side.notes,
            }
            for side, name in zip(compared.sides, compared.names(), strict=True)
        ],
        "rows": [_row(row) for row in compared.rows],
        "summary": {
            "sentence": compared.sentence,
            "claims": compared.claims,
            **{kind: len(compared.of_kind(kind)) for kind in KINDS},
        },
    }


def _row(row: Row) -> dict[str, Any]:
    changes = [change for change in row.changes if change is not None]
    return {
        "claim": row.claim.name,
        "what": row.what,
        "verdicts": [None if v is None else v.verdict for v in row.verdicts],
        "details": [None if v is None else v.detail for v in row.verdicts],
        "ratios": [None if v is None else v.ratio for v in row.verdicts],
        "drift_ulp": _finite(row.ulp),
        "where": row.where or None,
        "changes": row.kinds,
        "drifts_ulp": [None if c is None else _finite(c.ulp) for c in row.changes],
        "shares": [None if c is None else _finite(c.share) for c in row.changes],
        "explained": [_explained(c) for c in row.changes],
        "first_timestep": min(
            (c.timestep for c in changes if c.timestep is not None), default=None
        ),
        "bits": [None if v is None else v.bits for v in row.verdicts],
        "said": [None if c is None else c.said or None for c in row.changes],
        "known": [None if v is None else v.known or v.deviation or None for v in row.verdicts],
    }


def _explained(change: Change | None) -> bool | None:
    """Whether rounding may explain how far its numbers moved; None if that is not known."""
    if change is None or (change.share is None and change.unbounded):
        return None
    if change.share is not None and change.share > 1:
        return False
    return None if change.unbounded else True


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def effects(compared: Compared, index: int) -> str:
    """How one subject differs from the baseline: "2 worse · 14 changed in the last bits, ..."."""
    counts = [row.kinds[index] for row in compared.rows]
    known = sum(c.is_known for row in compared.rows if (c := row.changes[index]))
    words = {
        WORSE: "worse", BEYOND: "moved beyond rounding", BETTER: "better",
        OTHER: "other verdict", SAID: "other answer",
    }  # fmt: skip
    parts = []
    for kind, word in words.items():
        if many := counts.count(kind):
            part = f"{many} {word}" + "s" * (many > 1 and word.startswith("other"))
            if kind == WORSE and known:
                part += f" ({known} known)"
            parts.append(part)
    drifts = [c for row in compared.rows if (c := row.changes[index]) and c.kind == DRIFT]
    within = [change for change in drifts if not change.unbounded]
    if within:
        most = max(change.ulp or 0.0 for change in within)
        drifted = f"{len(within)} changed in the last bits, at most {ulps(most)}"
        share = max(change.share or 0.0 for change in within)
        parts.append(f"{drifted}, {share:.2g} of what rounding may explain")
    if unbounded := [change for change in drifts if change.unbounded]:
        most = max(change.ulp or 0.0 for change in unbounded)
        parts.append(f"{len(unbounded)} changed, at most {ulps(most)}, where no bound is known")
    if not parts and compared.sides[index] in compared.uncompared:
        return "nothing was compared"
    signs = any(c.signs for row in compared.rows if (c := row.changes[index]))
    same = "the same but for the signs of zeros" if signs else "the same, bit for bit"
    return " · ".join(parts) or same
