"""What does a program read of verdicts, as JSON?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rnn_check.reports.outcome import summary
from rnn_check.reports.terminal import as_json as quoted
from rnn_check.verdicts.judge import Judged, Verdict

SCHEMA = 2


def as_json(judged: Sequence[Judged]) -> str:
    """The JSON document, of one shape however many subjects: each row says of which it is.

    No NaN or Infinity ever stands in it.
    """
    return as_document(
        {
            "schema": SCHEMA,
            "subjects": [j.subject.told() for j in judged],
            "verdicts": [
                {"subject": i, **_row(v)} for i, j in enumerate(judged) for v in j.verdicts
            ],
            "summary": [summary(j.verdicts) for j in judged],
        }
    )


def _row(v: Verdict) -> dict[str, Any]:
    return {
        "claim": v.claim,
        "file": v.file,
        "what": v.what,
        "verdict": v.verdict,
        "ratio": v.ratio,
        "source": v.source,
        "detail": v.detail,
        "bits": v.bits,
        "known": v.known or v.deviation or None,
        "causes": list(v.causes),
    }


def as_document(document: dict[str, Any]) -> str:
    """One JSON document, to be read by people too.

    What is no text in it is quoted, half characters of file names that are no UTF-8 too.
    """
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_plain_throughout(msgspec.to_builtins(document)))
    return quoted(msgspec.json.format(encoded, indent=2).decode())


def _plain_throughout(node: Any) -> Any:
    if isinstance(node, str):
        return node.encode("utf-8", "backslashreplace").decode()
    if isinstance(node, dict):
        return {_plain_throughout(key): _plain_throughout(value) for key, value in node.items()}
    return [_plain_throughout(each) for each in node] if isinstance(node, list) else node
