"""What does a pull request show of verdicts?"""

from __future__ import annotations

from collections.abc import Sequence

from rnn_check.reports.explaining import Member, alike, explained_once, numbered, place_of
from rnn_check.reports.github import escaped, fenced
from rnn_check.reports.outcome import how_many, sentence, summary
from rnn_check.reports.subject import header
from rnn_check.reports.terminal import plain
from rnn_check.reports.verdicts import reasons_not_run
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged


def markdown(judged: Sequence[Judged], *, interrupted: bool = False) -> str:
    """The answer in a sentence, the counts of each subject, and each thing that is wrong, once.

    For a comment or the summary of a run in CI: what is well, known or was not run is folded.
    """
    lines = [f"**{escaped(sentence(judged, interrupted))}**", ""]
    lines += [
        f"| | asked | {AGREE} | {DIFFER} | {ERROR} | {NOT_RUN} |",
        "|---|---|---|---|---|---|",
    ]
    for i, j in enumerate(judged, 1):
        of = summary(j.verdicts)
        excused = f" ({of['known']} known)" * bool(of["known"])
        counts = f"{of[AGREE]} | {of[DIFFER]}{excused} | {of[ERROR]} | {of[NOT_RUN]}"
        lines.append(f"| {i} | {escaped(header(j.subject))} | {counts} |")
    groups = alike(judged)
    wrong = [same for same in groups if not same[0][1].is_known]
    for same in wrong:
        lines += ["", "<details open>", f"<summary>{_named(same, judged)}</summary>", ""]
        lines += [*fenced(plain("\n".join(explained_once(same, judged)))), "", "</details>"]
    if known := [same for same in groups if same[0][1].is_known]:
        lines += ["", "<details>", f"<summary>known ({len(known)})</summary>", ""]
        lines += [
            f"- {_named(same, judged)}: {escaped(same[0][1].known or same[0][1].deviation)}"
            for same in known
        ]
        lines += ["", "</details>"]
    if reasons := reasons_not_run(judged):
        n = sum(len(members) for _, members in reasons)
        lines += ["", "<details>", f"<summary>not run ({n})</summary>", ""]
        lines += [f"- {len(members)}: {escaped(reason)}" for reason, members in reasons]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _named(same: Sequence[Member], judged: Sequence[Judged]) -> str:
    """ "differ: claim · what and 2 more [1, 3]"."""
    _, v = same[0]
    more = len({place_of(other) for _, other in same}) - 1
    where = f" [{numbered({i for i, _ in same})}]" * (len(judged) > 1)
    words = f"{v.verdict}: {v.claim} · {v.what}" + f" and {how_many(more, 'other')}" * bool(more)
    return escaped(words + where)
