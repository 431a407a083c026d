"""Are files that one subject wrote read by another, and is what is wrong with that told?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rnn_check.claims.expectations import carried as expectations
from rnn_check.subjects import environments as environment
from rnn_check.subjects.environments import Environment
from rnn_check.upgrades import carried
from tests.support import bundled, puppet
from tests.support.command import run as command
from tests.upgrades.test_upgrade import held, resolve

OLD, NEW, NEWEST = "keras==3.1.0@tensorflow", "keras==3.2.0@jax", "keras==3.3.0@torch"
SAVED = """
[[expect]]
what  = "round_trip"
of    = "keras"
from  = "Keras's word"
value = true
"""
WHAT = "file of model.keras"
BY_OLD, BY_NEW = (
    "written by TensorFlow 1.2.3 with Keras 3.15.1",
    "written by Keras 3.15.1 on jax 1.2.3",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr(environment, "resolve", resolve)
    monkeypatch.setattr(Environment, "held", held)
    monkeypatch.setenv("PUPPET_ASKED", str(tmp_path / "asked"))
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a", "b")
    for name in ("a", "b"):
        with (folder / f"{name}.toml").open("a") as file:
            file.write(SAVED)
    return tmp_path


def rows(folder: Path, *words: str, code: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    result = command("compare", *words, "--claims", folder / "claims", "--json")
    assert result.exit_code == code, result.output
    found = json.loads(result.stdout)["rows"]
    return {(r["claim"], r["way"]): r for r in found if r["what"] == WHAT}


def test_everybody_reads_what_the_first_and_the_last_wrote(cache: Path) -> None:
    found = rows(cache, OLD, NEW)
    assert found.keys() == {(name, by) for name in ("a", "b") for by in (BY_OLD, BY_NEW)}
    assert all(r["verdicts"] == ["agree", "agree"] for r in found.values())
    assert all(r["changes"] == ["", ""] and r["drift_ulp"] == 0 for r in found.values())


@pytest.mark.parametrize(
    ("fate", "verdict", "says"),
    [
        ("cannot read", "error", "file: ValueError: model.keras: of another version"),
        ("permuted", "differ", "recurrent_kernel of b in the file"),
        ("one weight", "differ", "bias of b in the file"),
    ],
)
def test_who_reads_an_older_file_wrongly_is_worse(
    fate: str, verdict: str, says: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch, jax={"b": fate})
    found = rows(cache, OLD, NEW, code=1)
    row = found["b", BY_OLD]
    assert row["verdicts"] == ["agree", verdict]
    assert row["changes"] == ["", "worse"]
    assert says in row["details"][1]
    assert found["a", BY_OLD]["changes"] == ["", ""]
    shown = command("compare", OLD, NEW, "--claims", cache / "claims")
    assert f"b ({BY_OLD}) · {WHAT}" in shown.stdout
    assert says in shown.stdout
    assert f"rerun     rnn-check compare {OLD} {NEW} --claims {cache / 'claims'} -k b\n" in (
        shown.stdout
    )
    again = command("compare", OLD, NEW, "--claims", cache / "claims", "-k", "b", "--json")
    assert ("b", BY_OLD) in {(r["claim"], r["way"]) for r in json.loads(again.stdout)["rows"]}


@pytest.mark.parametrize("fate", ["cannot read", "permuted"])
def test_an_older_one_that_cannot_read_a_newer_file_is_told_and_not_worse(
    fate: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the newer one better for it."""
    puppet.play(monkeypatch, tensorflow={"b": fate})
    found = rows(cache, OLD, NEW)
    row = found["b", BY_NEW]
    assert row["verdicts"] == [{"permuted": "differ"}.get(fate, "error"), "agree"]
    assert row["changes"] == ["", "other"]
    shown = command("compare", OLD, NEW, "--claims", cache / "claims").stdout
    assert f"b ({BY_NEW}) · {WHAT}" in shown


def test_what_cannot_be_written_is_not_carried(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch, tensorflow={"b": "cannot write"})
    assert rows(cache, OLD, NEW).keys() == {("a", BY_OLD), ("a", BY_NEW), ("b", BY_NEW)}


def test_of_many_the_first_and_the_last_write(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one between reads the first one's alone, and each names its reader's verdict."""
    puppet.play(monkeypatch, jax={"b": "permuted"})
    found = rows(cache, OLD, NEW, NEWEST, code=1)
    by_newest = "written by Keras 3.15.1 on torch 1.2.3"
    assert {by for _, by in found} == {BY_OLD, by_newest}
    assert found["b", BY_OLD]["verdicts"] == ["agree", "differ", "agree"]
    assert found["b", by_newest]["verdicts"] == ["agree", None, "agree"]


def test_a_file_is_remembered_and_part_of_the_question(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(cache, OLD, NEW)
    asked = (cache / "asked").read_text()
    rows(cache, OLD, NEW)
    assert (cache / "asked").read_text() == asked
    folder = cache / "claims"
    text = (folder / "b.toml").read_text().replace("[[0.5, -0.25]]", "[[0.5, -0.75]]")
    (folder / "b.toml").write_text(text)
    rows(cache, OLD, NEW, code=0)
    more = (cache / "asked").read_text().removeprefix(asked)
    assert sorted({*more.split()}) == ["jax:b", "tensorflow:b"]


def test_a_record_carries_nothing(cache: Path) -> None:
    box = cache / "box.npz"
    both = ("--backend", "jax", "--mode", "eager")
    assert command("observe", cache / "claims", *both, "-o", box).exit_code == 0
    assert not rows(cache, str(box), OLD)
    assert {by for _, by in rows(cache, OLD, str(box))} == set()


def test_what_is_carried_by_default_is_bundled() -> None:
    few = carried.few(list(bundled.everywhere()))
    assert {claim.name for claim in few} == {*carried.FEW}
    written = [expectations.writing(claim) for claim in few]
    how = {e.written_as for c in written if c is not None for e in c.expectations}  # type: ignore[attr-defined]
    assert how == {*expectations.NAMES}
