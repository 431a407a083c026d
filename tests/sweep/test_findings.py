"""Is what is wrong found, made small, and shown to somebody who has no rnn_check?"""

from __future__ import annotations

from rnn_check.sweep import findings
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR
from tests.sweep.test_cluster import outcome


def test_what_is_wrong_alike_is_one_group_and_what_is_known_is_none() -> None:
    wrong = [
        outcome(0, DIFFER, place="states of a"),
        outcome(1, DIFFER, place="states of b"),
        outcome(2, DIFFER, place="gradient of a.forward.kernel"),
        outcome(3, DIFFER, place="gradient of c.forward.kernel"),
        outcome(4, DIFFER, place="states of a", known="why"),
        outcome(5, ERROR, place="shape (3, 4)"),
        outcome(6, ERROR, place="shape (1, 2)"),
        outcome(7, DIFFER, place="states of a", subject="b"),
        outcome(8, AGREE),
    ]
    found = [[each.index for each in group] for group in findings.groups(wrong).values()]
    assert sorted(found) == [[0, 1], [2, 3], [5, 6], [7]]
