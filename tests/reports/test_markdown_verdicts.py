"""Does a pull request show what is wrong, once, and nobody else's markup?"""

from __future__ import annotations

from rnn_check.reports.markdown_verdicts import markdown
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged
from tests.reports.test_report import SUBJECT, verdict


def test_what_is_wrong_is_open_and_the_rest_is_folded() -> None:
    known = verdict(DIFFER, claim="folder/known", deviation="Keras forgets it")
    missing = verdict(NOT_RUN, claim="folder/missing", detail="no such layer")
    shown = markdown([Judged(SUBJECT, [verdict(DIFFER), known, missing, verdict(AGREE)])])
    assert shown.startswith("**1 number differs that was not known to, beside 1 difference that ")
    assert "| 1 | keras 3.15.1 · tensorflow 2.21.0 · eager" in shown
    assert "| 1 | 2 (1 known) | 0 | 1 |" in shown
    opened, folded, not_run = shown.split("<details")[1:]
    assert opened.startswith(" open>\n<summary>differ: folder/claim · output</summary>\n\n```text")
    assert "rerun     rnn-check -k folder/claim" in opened
    assert folded.startswith(">\n<summary>known (1)</summary>") and "Keras forgets it" in folded
    assert "summary>not run (1)</summary>\n\n- 1: no such layer" in not_run


def test_one_number_on_two_subjects_is_said_once_with_both() -> None:
    both = [Judged(SUBJECT, [verdict(DIFFER)])] * 2
    shown = markdown(both)
    assert shown.count("<details open>") == 1
    assert r"<summary>differ: folder/claim · output \[1, 2\]</summary>" in shown


def test_all_is_well_is_a_sentence_and_a_table() -> None:
    shown = markdown([Judged(SUBJECT, [verdict(AGREE)])])
    assert shown.splitlines()[0] == "**Everything agrees.**" and "<details" not in shown
    assert "so far" in markdown([Judged(SUBJECT, [verdict(AGREE)])], interrupted=True)


def test_a_claim_cannot_write_markup() -> None:
    nasty = "```\n</details><img src=x> @team #1 | **bold**"
    wrong = verdict(ERROR, claim="a</summary>@team", what="x|y", detail=nasty)
    shown = markdown([Judged(SUBJECT, [wrong])])
    assert "a&lt;/summary&gt;@<!-- -->team · x\\|y" in shown
    before, _, after = shown.partition("````text\n")  # longer than any fence in what it holds
    assert (
        "<img" not in before and after.count("````") == 1 and "<img" not in after.split("````")[1]
    )
