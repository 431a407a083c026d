"""Is every case asked once and for all, whoever dies in the middle?"""

from __future__ import annotations

from pathlib import Path

import pytest

from rnn_check.asking import cluster
from rnn_check.asking.request import Setting
from rnn_check.asking.run import Target
from rnn_check.claims.files import bundled
from rnn_check.refusal import Refused
from rnn_check.sweep import shared
from rnn_check.sweep.results import About, Results
from rnn_check.sweep.space import FAMILY, Case, Space
from rnn_check.sweep.work import Outcome, Sought
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support.command import run

SPACE = Space.within(["do=certified", "layer=SimpleRNN,LSTM,GRU"])
NUMPY = Sought("numpy eager float32", Target.named("numpy", Setting()), Setting())


def outcome(index: int, verdict: str = AGREE, subject: str = "a", **more: object) -> Outcome:
    fields: dict[str, object] = {
        **{"seed": 1, "index": index, "subject": subject, "packages": "keras 3.15.1 · numpy 2.4"},
        **{"verdict": verdict, "what": "certified", "place": "", "detail": "", "known": ""},
        **{"ratio": 0.5, "bits": None, "seconds": 0.25},
    }
    return Outcome(**fields | more)  # type: ignore[arg-type]


# what is to be asked, and what is kept


def test_every_case_is_asked_of_every_subject_but_what_was() -> None:
    cases = FAMILY + 4
    pieces = list(shared.pieces([NUMPY], 1, cases, {(NUMPY.name, 3), (NUMPY.name, FAMILY + 2)}))
    asked = [case.index for piece in pieces for case in piece.cases]
    assert asked == [i for i in range(cases) if i not in (3, FAMILY + 2)]
    assert len(pieces) == 2 and {case.seed for piece in pieces for case in piece.cases} == {1}


def test_results_are_kept_and_read_again(tmp_path: Path) -> None:
    about = About.of(1, SPACE)
    results = Results(tmp_path / "sweep", about)
    results.add([outcome(0), outcome(1, DIFFER, known="why", ratio=None)])
    results.add([outcome(0, subject="b")])
    again = Results(tmp_path / "sweep", about)
    assert again.done() == {("a", 0), ("a", 1), ("b", 0)}
    again.add([outcome(2)])
    assert list(Results(tmp_path / "sweep", about).outcomes()) == [
        *(outcome(0), outcome(1, DIFFER, known="why", ratio=None)),
        *(outcome(0, subject="b"), outcome(2)),
    ]


def test_another_sweep_or_another_folder_is_refused(tmp_path: Path) -> None:
    Results(tmp_path / "sweep", About.of(1, SPACE))
    for about, says in (
        (About.of(2, SPACE), "its seed is 1, not 2"),
        (About.of(1, Space()), "its --space has layer=SimpleRNN,LSTM,GRU"),
    ):
        with pytest.raises(Refused, match=says):
            Results(tmp_path / "sweep", about)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(Refused, match="holds something else"):
        Results(tmp_path / "other", About.of(1, SPACE))
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(Refused, match="cannot be read"):
        Results(tmp_path / "sweep", About.of(1, SPACE))


# what is typed wrong


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give either --cases N or --budget TIME"),
        (["--cases", "3", "--budget", "1m"], "give either --cases N or --budget TIME"),
        (["--budget", "10"], "--budget: expected a time such as 90s, 10m or 2h, got '10'"),
        (["--cases", "0"], "--cases"),
        (["--cases", "3", "--scheduler", "x", "--workers", "2"], "--workers does not go with"),
        (["--cases", "3", "--space", "colour=red"], "'colour=red': expected AXIS=VALUE"),
        (["--cases", "3", "--backend", "jacks"], "unknown backend 'jacks'"),
        (["--cases", "3", "--backend", "torch", "--mode", "xla"], "has no mode 'xla'"),
        (["--cases", "3", "keras==3.12.0@jacks"], "jacks"),
        (["--cases", "3", "--backend", "jax", "tensorflow==2.16.2"], "--backend is of the Keras"),
        (["--cases", "3", "--layer", "nowhere.py:MyRNN"], "--layer: no such file: nowhere.py"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path: Path, words: list[str], says: str) -> None:
    result = run("sweep", "-o", tmp_path / "sweep", *words)
    assert result.exit_code == 2 and says in result.output
    assert "Traceback" not in result.output and not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        ("localhost:8786", "No such file or directory, and it is no address such as tcp://"),
        ("foo://localhost:8786", "nobody answers there: unknown address scheme 'foo'"),
        (__file__, "it is no file that dask scheduler wrote"),
    ],
)
def test_a_scheduler_that_is_not_there_is_refused(scheduler: str, says: str) -> None:
    with pytest.raises(Refused, match=r"^--scheduler: ") as refused, cluster.client(scheduler, 1):
        pass
    assert says in str(refused.value)


def test_a_case_is_named_by_what_draws_it() -> None:
    assert Case(7, 12).name == "sweep-3-7-12"


def test_a_comparison_of_no_cluster_is_refused(tmp_path: Path) -> None:
    claim = bundled() / "certified" / "tanh_sequence.toml"
    for words, says in (
        (["--scheduler", tmp_path / "none.json"], "none.json: No such file or directory"),
        (["--scheduler", "x", "--model", "m.keras"], "--scheduler is of claims"),
    ):
        result = run("compare", "current@numpy", "current@tensorflow", "--claims", claim, *words)
        assert result.exit_code == 2 and says in result.output
