"""What does a program read of what changed?"""

from __future__ import annotations

import math
from typing import Any

from rnn_check.upgrades.changes import KINDS, Change, Compared, Row
from rnn_check.upgrades.sentence import sentence

SCHEMA = 1


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
            "sentence": sentence(compared),
            "claims": compared.claims,
            **{kind: len(compared.of_kind(kind)) for kind in KINDS},
        },
    }


def _row(row: Row) -> dict[str, Any]:
    changes = [change for change in row.changes if change is not None]
    return {
        "claim": row.claim.name,
        "way": row.way or None,
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
