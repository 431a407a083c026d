"""Is what is known excused, what is gone red, and a file that is wrong refused?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnn_check import claim, deviations, report
from rnn_check.cli import main
from rnn_check.comparison import equal
from rnn_check.deviations import Deviation
from rnn_check.judge import AGREE, DIFFER, ERROR, NOT_RUN, Setting, Verdict
from rnn_check.written import ClaimError
from tests import puppet

SUBJECT = {
    **{"keras": "3.15.1", "backend": "torch", "backend_version": "2.13.0+cpu"},
    **{"numpy": "2.4.6", "python": "3.11.7"},
}
ENTRY = """
schema = 1
[[deviation]]
claim = "{claim}"
backend = "jax"
seen = "{seen}"
why = "it adds a thousandth"
link = "https://example.org/1"
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def verdict(claim: str, what: str, kind: str, detail: str = "why") -> Verdict:
    return Verdict(claim, "file", what, kind, None, "word", "document", detail)


def entry(**changes: Any) -> Deviation:
    return Deviation(**{"claim": "a", "seen": "differ", "why": "it is known", **changes})


def marked(verdicts: list[Verdict], *entries: Deviation, **setting: Any) -> list[Verdict]:
    return deviations.mark(verdicts, entries, SUBJECT, Setting(**setting))


def test_what_is_seen_is_excused_and_nothing_else() -> None:
    verdicts = [
        verdict(c, w, DIFFER) for c, w in (("a", "output"), ("a", "states"), ("b", "output"))
    ]
    found = marked(verdicts, entry(what="out*"))
    assert [v.is_red for v in found] == [False, True, True]
    assert [v.is_known for v in found] == [True, False, False]
    assert found[0].deviation == "it is known"
    assert report.exit_code(found[:1]) == 0


def test_where_both_the_claim_and_the_subject_are_wrong_both_have_to_be_known() -> None:
    comparisons = tuple(equal(who, "output", 1, 2) for who in ("claim", "subject"))
    wrong = dataclasses.replace(
        verdict("a", "output", DIFFER), known="misprinted", comparisons=comparisons
    )
    assert wrong.is_red
    (found,) = marked([wrong], entry())
    assert found.is_known
    assert not found.is_red


def test_an_error_is_excused_by_an_entry_that_says_error() -> None:
    crashed = [verdict("a", "output", ERROR, "raised ValueError: no")]
    assert report.exit_code(marked(crashed, entry(seen="error"))) == 0
    assert report.exit_code(marked(crashed, entry(seen="differ"))) == 3
    assert report.exit_code(marked(crashed, entry(seen="error", says="ValueError"))) == 0
    assert report.exit_code(marked(crashed, entry(seen="error", says="SIGSEGV"))) == 3


def test_what_agrees_now_is_red() -> None:
    verdicts = [verdict("a", "output", AGREE), verdict("a", "states", AGREE)]
    found = marked(verdicts, entry(what=["output", "states"]))
    assert [v.is_red for v in found] == [True, True]
    assert report.exit_code(found) == 1
    assert "update the known deviations" in report.explanation(found[0])


def test_an_entry_of_a_claim_as_a_whole_needs_one_that_shows_it() -> None:
    one = [verdict("a", "output", DIFFER), verdict("a", "output_shape", AGREE)]
    assert report.exit_code(marked(one, entry())) == 0
    none = [verdict("a", "output", AGREE), verdict("a", "output_shape", AGREE)]
    assert [v.is_red for v in marked(none, entry())] == [True, False]


def test_every_claim_of_a_pattern_has_to_show_it() -> None:
    verdicts = [verdict("x/1", "output", DIFFER), verdict("x/2", "output", AGREE)]
    assert [v.is_red for v in marked(verdicts, entry(claim="x/*"))] == [False, True]


def test_what_was_not_run_is_neither_excused_nor_gone() -> None:
    verdicts = [verdict("a", "output", NOT_RUN)]
    assert marked(verdicts, entry()) == verdicts
    (known,) = marked(verdicts, entry(seen="not_run"))
    assert known.deviation
    assert not known.is_red


@pytest.mark.parametrize(
    ("changes", "speaks"),
    [
        ({}, True),
        ({"keras": ">=3.0"}, True),
        ({"keras": ">=3.0,<3.15"}, False),
        ({"backend_version": "==2.13.0"}, True),
        ({"backend_version": ">2.13"}, False),
        ({"numpy": "<2"}, False),
        ({"python": ">=3.11"}, True),
        ({"backend": "torch"}, True),
        ({"backend": ["jax", "torch"]}, True),
        ({"backend": "jax"}, False),
        ({"mode": ["eager", "xla"]}, True),
        ({"mode": "xla"}, False),
        ({"dtype": "float32"}, True),
        ({"dtype": ["float16", "mixed_float16"]}, False),
        ({"dtype": "*float64"}, False),
    ],
    ids=str,
)
def test_which_subjects_an_entry_speaks_of(changes: dict[str, Any], speaks: bool) -> None:
    (found,) = marked([verdict("a", "output", DIFFER)], entry(**changes))
    assert found.is_known is speaks


@pytest.mark.parametrize(
    ("version", "specifier", "within"),
    [
        ("2026.4.1-22982-e213a147257-releases/2026/4", ">=2026.4", True),
        ("3.16.0.dev2026", ">=3.15", True),
        ("nightly", ">=1", False),
        ("", ">=1", False),
        ("", "", True),
    ],
)
def test_versions_as_packages_say_them(version: str, specifier: str, within: bool) -> None:
    assert deviations._within(version, specifier) is within


def test_a_layer_of_the_users_own_is_not_excused() -> None:
    (found,) = marked([verdict("a", "output", DIFFER)], entry(), layer="my.py:Layer")
    assert found.is_red


def test_a_name_is_a_pattern_whatever_signs_it_holds() -> None:
    name = "options/mask[side=left]"
    assert entry(claim=name).is_about(name)
    assert entry(claim="options/mask*").is_about(name)


# -- the file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seen =", "sene =", r"deviation\[0\].sene: unknown key; did you mean `seen`\?"),
        ("schema = 1", "shema = 1", "shema: unknown key; did you mean `schema`?"),
        ("schema = 1", "schema = 2", "schema: this version reads schema 1, the file says 2"),
        ("why =", "# why =", r"deviation\[0\].why: required key is missing"),
        ("it adds a thousandth", " ", r"deviation\[0\].why: must not be empty"),
        ('seen = "differ"', 'seen = "differs"', r"seen: unknown verdict 'differs'; did you mean"),
        ('backend = "jax"', 'backend = "jaxx"', r"backend: unknown backend 'jaxx'; did you mean"),
        ('backend = "jax"', "backend = 7", r"deviation\[0\].backend: expected"),
        ('backend = "jax"', "backend = []", r"backend: must not be empty"),
        ('backend = "jax"', 'mode = "XLA"', r"mode: unknown mode 'XLA'"),
        ('backend = "jax"', 'keras = "3.x"', r"keras: expected versions, .* got '3.x'"),
        ('backend = "jax"', 'reproducer = "no.py"', r"reproducer: no such file: .*no.py"),
        ("schema = 1", "schema", "not TOML"),
    ],
)
def test_a_file_that_is_wrong_says_where(old: str, new: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    text = ENTRY.format(claim="a", seen="differ")
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ClaimError, match=message):
        deviations.load(file)
    result = run("--known", file, "-k", "article/hand_set_weights", "--backend", "numpy")
    assert result.exit_code == 2
    assert str(file) in result.stderr


def test_a_reproducer_stands_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "shows.py").touch()
    file = tmp_path / "known.toml"
    file.write_text(ENTRY.format(claim="a", seen="differ") + 'reproducer = "shows.py"\n')
    assert deviations.load(file)[0].reproducer == "shows.py"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claim": "article/hand_set_weight"}, "did you mean `article/hand_set_weights`?"),
        ({"claim": ["article/*", "nothing/*"]}, "no claim is called 'nothing/*'"),
        ({"claim": "article/hand_set_weights", "what": "ouput"}, "did you mean `output`?"),
    ],
)
def test_an_entry_that_speaks_of_nothing_is_an_error(changes: dict[str, Any], message: str) -> None:
    claims = list(claim.load_all())
    with pytest.raises(ClaimError) as raised:
        deviations.check([entry(**changes)], claims, Path("known.toml"))
    assert message in str(raised.value)


def test_the_bundled_file_is_whole() -> None:
    file = deviations.bundled()
    deviations.check(deviations.load(file), list(claim.load_all()), file)


# -- in the command --------------------------------------------------------------------------------


def test_a_known_deviation_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch, jax={"a": "wrong"})
    folder = puppet.claims(tmp_path / "claims", "a", "b")
    known = tmp_path / "known.toml"
    known.write_text(ENTRY.format(claim="a", seen="differ"))
    words = (folder, "--backend", "jax", "--backend", "torch", "--mode", "eager")
    assert run(*words).exit_code == 1
    result = run(*words, "--known", known)
    assert result.exit_code == 0, result.output
    assert "differ (known)  a · output  [1]" in result.stdout
    assert "known: it adds a thousandth (https://example.org/1)" in result.stdout
    rows = json.loads(run(*words, "--known", known, "--json").stdout)["verdicts"]
    assert [row["known"] for row in rows if row["verdict"] == "differ"] == [
        "it adds a thousandth (https://example.org/1)"
    ]
    one = run(folder, "--backend", "jax", "--known", known)
    assert one.exit_code == 0
    assert "3 agree · 1 differ (1 known) · 0 error" in one.stdout
    known.write_text(ENTRY.format(claim="b", seen="differ"))
    gone = run(*words, "--known", known)
    assert gone.exit_code == 1
    assert "✓ gone" in gone.stdout
    assert "agrees now; update the known deviations" in gone.stdout


def test_entries_are_held_against_the_claims_only_if_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    known = tmp_path / "known.toml"
    known.write_text(ENTRY.format(claim="nobody", seen="differ"))
    folder = puppet.claims(tmp_path / "claims", "a")
    assert run(folder, "--known", known, "--backend", "jax").exit_code == 0
    result = run("--known", known, "--backend", "jax", "--options")
    assert result.exit_code == 2
    assert "no claim is called 'nobody'" in result.stderr
