"""Does pytest judge claims as the command does, and say what is wrong as clearly?"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from rnn_check.claims import files
from rnn_check.claims.files import bundled

# else each pytest inside a test imports NumPy anew, and takes what watches a process away with it
from rnn_check.plugin import items  # noqa: F401
from rnn_check.subjects import process  # noqa: F401
from tests.support.bundled import load_all
from tests.support.pytests import OFF, PUPPET, Pytests
from tests.support.sampling import long


@pytest.fixture
def inside(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Pytests:
    return Pytests(pytester, monkeypatch)


def collected(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


# --- what is collected ----------------------------------------------------------------------------


def test_each_expectation_of_a_claim_file_is_an_item(inside: Pytests) -> None:
    inside.claim("hand")
    inside.claim("other", suffix=".toml")
    result = inside.run("--collect-only", "-q")
    assert collected(result) == [
        "hand.claim.toml::output",
        "hand.claim.toml::weights_read_back",
    ]


def test_every_toml_file_of_a_folder_named_in_the_ini_file_is_one(inside: Pytests) -> None:
    inside.claim("claims/one", ('name = "claims/one"', 'name = "one"'), suffix=".toml")
    inside.claim("elsewhere", suffix=".toml")
    inside.pytester.makeini("[pytest]\nrnn_check_claims = claims")
    result = inside.run("-q")
    result.assert_outcomes(passed=2)
    assert collected(inside.run("--collect-only", "-q"))[0] == "claims/one.toml::output"


def test_a_folder_that_is_not_there_is_said_at_once(inside: Pytests) -> None:
    inside.pytester.makeini("[pytest]\nrnn_check_claims = clams")
    result = inside.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: rnn_check_claims: no such folder: */clams"])


def test_expectations_of_one_name_and_those_of_each_variant_have_their_own(
    inside: Pytests,
) -> None:
    again = '[[expect]]\nwhat = "weights_read_back"\nfrom = "b"\nvalue = true'
    claim = inside.claim("twice")
    claim.write_text(claim.read_text() + again)
    varied = inside.claim("varied")
    varied.write_text(f'{varied.read_text()}\n[vary]\n"layer.unroll" = [true, false]')
    assert collected(inside.run("--collect-only", "-q")) == [
        "twice.claim.toml::output",
        "twice.claim.toml::weights_read_back",
        "twice.claim.toml::weights_read_back (2)",
        "varied.claim.toml::output[unroll=true]",
        "varied.claim.toml::weights_read_back[unroll=true]",
        "varied.claim.toml::output[unroll=false]",
        "varied.claim.toml::weights_read_back[unroll=false]",
    ]
    inside.run("varied.claim.toml::output").assert_outcomes(passed=2)


def test_a_claim_file_with_an_error_is_one_clear_collection_error(inside: Pytests) -> None:
    inside.claim("bad", ("units", "unitz"))
    inside.claim("good")
    result = inside.run("--continue-on-collection-errors")
    result.assert_outcomes(errors=1, passed=2)
    result.stdout.fnmatch_lines(
        ["*ERROR collecting bad.claim.toml*", "*bad.claim.toml: layer.unitz: unknown key; did you*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:*")


# --- what is chosen -------------------------------------------------------------------------------


def test_a_part_of_a_name_or_a_whole_one_chooses(inside: Pytests) -> None:
    inside.claim("hand")
    for chosen in (["-k", "weights"], ["hand.claim.toml::weights_read_back"], ["-k", "hand"]):
        result = inside.run(*chosen)
        assert result.ret == 0
        result.assert_outcomes(
            passed=2 if chosen[-1] == "hand" else 1, deselected=chosen[-1] == "weights"
        )


def test_it_stops_at_the_first_failure_and_begins_with_the_last(inside: Pytests) -> None:
    inside.claim("first", OFF)
    inside.claim("second")
    inside.run("-x", cache=True).assert_outcomes(failed=1)
    result = inside.run("--lf", cache=True)
    result.assert_outcomes(failed=1)
    inside.claim("first")
    inside.run("--lf", cache=True).assert_outcomes(passed=1)


# --- what is said ---------------------------------------------------------------------------------


def test_a_wrong_number_is_explained_without_a_traceback(inside: Pytests) -> None:
    inside.claim("hand", OFF)
    result = inside.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ hand.claim · output _*",
            "the claim's own number does not hold: output at sample 0, timestep 1, unit 1: claimed "
            "0.65533695, that is * true 0.625336915; 0.03 beyond where 7.7e-07 is allowed",
            "  file      hand.claim.toml",
            "  source    float32 NumPy (a test)",
            "  claimed   [[][[][[] 0.5370496  -0.04995837]",
            "  subject   keras 3.15.1 · * 1.2.3 · eager · *",
            "  rerun     rnn-check hand.claim.toml -k hand.claim",
            "FAILED hand.claim.toml::output - the claim's own number does not hold: *",
        ]
    )
    result.stdout.no_fnmatch_line("*.py:*")


def test_the_cause_of_a_wrong_number_is_named(inside: Pytests) -> None:
    inside.play(causes=True)
    file = inside.claim("hand")
    text = file.read_text()
    file.write_text(text.replace("bias = [0.1, 0.2]", "bias = [0.1, 0.3]"))
    result = inside.run()
    result.stdout.fnmatch_lines(["  cause     agrees if bias[[]1[]] is 0.2 in place of 0.3"])
    inside.claim("hand", OFF)
    result = inside.run()
    result.stdout.fnmatch_lines(["  cause     no one change that is known here *; 1 of 6 differ"])


def test_who_was_asked_is_said_once(inside: Pytests) -> None:
    inside.claim("hand")
    lines = [line for line in inside.run().outlines if line.startswith("rnn_check asked")]
    assert len(lines) == 1
    assert "keras 3.15.1" in lines[0]


def test_a_subject_that_crashes_fails_one_claim_and_the_next_is_asked(inside: Pytests) -> None:
    inside.play(jax={"a": "segfault"})
    inside.claim("a")
    inside.claim("b")
    result = inside.run("--rnn-check-backend", "jax")
    result.assert_outcomes(failed=2, passed=2)
    result.stdout.fnmatch_lines(["the subject jax was ended by SIGSEGV *"])


def test_a_subject_that_cannot_be_started_is_an_error_of_every_claim(inside: Pytests) -> None:
    inside.play(jax={"start": "exit"})
    inside.claim("a")
    result = inside.run("--rnn-check-backend", "jax")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*my last words"])


def test_what_is_not_run_is_skipped_with_its_reason(inside: Pytests) -> None:
    inside.claim("a", ('from = "Keras\'s word"', 'from = "b"\nnot_run = "nobody knows"'))
    inside.claim("b", ("schema = 1", "schema = 1\nslow = true"))
    result = inside.run("-rs")
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(
        [
            "*a.claim.toml::weights_read_back: nobody knows",
            "*b.claim.toml::output: slow; --rnn-check-slow judges it too",
        ]
    )
    inside.run("--rnn-check-slow").assert_outcomes(passed=3, skipped=1)


def test_the_report_for_machines_holds_what_was_found(inside: Pytests) -> None:
    inside.claim("hand", OFF)
    inside.run("--junitxml=report.xml")
    cases = {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        for case in xml.parse(inside.folder / "report.xml").iter("testcase")
    }
    assert cases["output"]["verdict"] == "differ"
    assert cases["weights_read_back"]["verdict"] == "agree"
    assert float(cases["output"]["ratio"]) > 1 >= float(cases["weights_read_back"]["ratio"])
    assert cases["output"]["source"] == "float32 NumPy (a test)"
    assert cases["output"]["subject"].startswith("keras 3.15.1 · ")


# --- what is known --------------------------------------------------------------------------------

KNOWN = ('from = "float32 NumPy"', 'from = "a"\nknown_to_differ = "a misprint"')


def test_a_number_that_is_known_to_be_wrong_is_expected_to_fail_strictly(inside: Pytests) -> None:
    inside.claim("wrong", OFF, KNOWN)
    result = inside.run("-rx")
    result.assert_outcomes(xfailed=1, passed=1)
    result.stdout.fnmatch_lines(["XFAIL wrong.claim.toml::output - a misprint*"])
    inside.claim("wrong", KNOWN)
    result = inside.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*agrees now, update what is known: a misprint"])


def test_a_subject_that_is_wrong_is_not_excused_by_a_misprint(inside: Pytests) -> None:
    inside.play(jax={"wrong": "wrong"})
    inside.claim("wrong", OFF, KNOWN)
    result = inside.run("--rnn-check-backend", "jax")
    result.assert_outcomes(failed=1, passed=1)


def test_what_ones_own_file_knows_of_a_subject_is_expected_strictly(inside: Pytests) -> None:
    (inside.folder / "known.toml").write_text(
        """
        schema = 2
        [[deviation]]
        layer = "SimpleRNN"
        expects = ["output"]
        backend = ["jax"]
        seen = "differ"
        says = "the subject computes something else"
        why = "jax is off"
        reproducer = "known.py"
        """
    )
    (inside.folder / "known.py").touch()
    inside.claim("a")
    asked = ["--rnn-check-known", "known.toml", "--rnn-check-backend", "jax", "-rx"]
    inside.play(jax={"a": "wrong"})
    result = inside.run(*asked)
    result.assert_outcomes(xfailed=1, passed=1)
    result.stdout.fnmatch_lines(["XFAIL a.claim.toml::output - jax is off*"])
    inside.play()
    inside.run(*asked).assert_outcomes(failed=1, passed=1)


# --- whom is asked --------------------------------------------------------------------------------


def test_several_subjects_are_items_side_by_side(inside: Pytests) -> None:
    inside.claim("a")
    inside.test("def test_it(keras_subject): assert 'did not start' in keras_subject.who")
    several = ["--rnn-check-backend=jax", "--rnn-check-backend=torch"]
    names = collected(inside.run("--collect-only", "-q", *several))
    assert [name.partition("::")[2] for name in names] == [
        *(f"output[{s}]" if w == "output" else f"weights_read_back[{s}]"
          for s in ("jax-eager", "jax-xla", "torch-eager") for w in ("output", "weights")),
        "test_it[jax-eager]", "test_it[jax-xla]", "test_it[torch-eager]",
    ]  # fmt: skip
    inside.play(torch={"a": "wrong"})
    result = inside.run("a.claim.toml", *several)
    result.assert_outcomes(failed=1, passed=5)
    result.stdout.fnmatch_lines(["FAILED a.claim.toml::output[[]torch-eager] - the subject *"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--rnn-check-backend=jaz", "--rnn-check-backend: unknown 'jaz'; did you mean `jax`?"),
        ("--rnn-check-mode=fast", "--rnn-check-mode: "),
        ("--rnn-check-dtype=float8", "--rnn-check-dtype: "),
        ("--rnn-check-known=absent.toml", "absent.toml"),
    ],
)
def test_an_option_that_is_wrong_is_one_message(inside: Pytests, option: str, message: str) -> None:
    inside.claim("a")
    result = inside.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_a_backend_that_is_not_installed_is_one_collection_error(inside: Pytests) -> None:
    inside.play(jax={"absent": ""})
    inside.claim("a")
    result = inside.run("--rnn-check-backend=jax")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the backend jax is not installed; *rnn_check?jax?*"])
    assert inside.run("--rnn-check-backend=jax", "--collect-only").ret == 0  # asks nobody


@pytest.mark.long
def test_each_worker_keeps_one_subject_warm(
    inside: Pytests, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = inside.folder / "asked"
    monkeypatch.setenv("PUPPET_LOG", str(log))
    for name in "abcd":
        inside.claim(name)
    inside.run_apart("-n", "2", "--dist", "loadfile").assert_outcomes(passed=8)
    assert len(log.read_text().splitlines()) == 2


# --- projects without claims ----------------------------------------------------------------------

LOADED = """
import sys

def test_what_is_loaded():
    ours = {name for name in sys.modules if name.partition(".")[0] == "rnn_check"}
    others = {"numpy", "keras", "tensorflow", "jax", "torch", "click", "msgspec"} & set(sys.modules)
    assert ours == {"rnn_check", "rnn_check.plugin"} and not others
"""
ALONE = ["-p", "rnn_check.plugin", "-p", "no:cacheprovider"]


def test_without_claims_nothing_of_it_is_loaded_nor_said(inside: Pytests) -> None:
    inside.test(LOADED)
    (inside.folder / "pyproject.toml").write_text("")
    result, without = inside.run_alone(*ALONE), inside.run_alone(*ALONE[2:])
    result.assert_outcomes(passed=1)
    said, said_without = (re.sub(r"[\d.]+s", "", r.stdout.str()) for r in (result, without))
    assert "1 failed" in said_without  # as nothing of ours was there
    passed = [line for line in said.splitlines() if "passed" not in line and ".py" not in line]
    assert set(passed) <= set(said_without.splitlines())


@pytest.mark.long
def test_that_check_can_fail(inside: Pytests) -> None:
    inside.test(LOADED)
    inside.claim("a", ("units", "unitz"))
    result = inside.run_alone(*ALONE, "--continue-on-collection-errors")
    result.assert_outcomes(failed=1, errors=1)


# --- fixtures -------------------------------------------------------------------------------------

LAYER = """
import numpy as np
LAYER = dict(
    x=[[[1, 3], [1, 1], [2, 3]]], kernel=[[1, 0, 2], [2, 1, 3]],
    recurrent_kernel=[[1, 2, 1], [1, 0, 1], [0, 1, 0]], bias=[0, 0, 1], activation="linear",
)
STATES = np.float32([[[7, 3, 12], [13, 27, 16], [48, 45, 54]]])
"""


def test_certify_passes_what_is_right_and_explains_what_is_wrong(inside: Pytests) -> None:
    inside.test(
        LAYER
        + """
def test_right(certify):
    assert certify(STATES, **LAYER).ratio == 0
def test_wrong(certify):
    certify(STATES + np.float32([0, 0, 1]), **LAYER)
def test_not_proved(certify):
    large = dict(x=[[[6e4, 6e4]]], kernel=[[9, 9, 9]] * 2)
    certify(np.full((1, 1, 3), np.inf, np.float16), **LAYER | large)
"""
    )
    result = inside.run()
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: a step does not follow from the one before: states at sample "
            "0, timestep 0, unit 2: the framework's 13, what follows 12; off by 1 where nothing *",
            "E         what follows [[][[][[] 7.  3. 12.]",
            "E       AssertionError: not proved: states: *",
        ]
    )
    result.stdout.no_fnmatch_line("*asserting.py*")


def test_certify_gradients_explains_each_that_is_wrong(inside: Pytests) -> None:
    inside.test(
        LAYER
        + """
ONE = dict(
    x=[[[2]]], kernel=[[1]], recurrent_kernel=[[1]], activation="linear", states=[[[2]]],
    cotangent=[[[3]]],
)
ONE = {k: np.float32(v) if k != "activation" else v for k, v in ONE.items()}
DELTA, KERNEL = np.float32([[[3]]]), np.float32([[6]])
def test_right(certify_gradients):
    assert set(certify_gradients({"delta": DELTA, "kernel": KERNEL}, **ONE)) == {"delta", "kernel"}
def test_wrong(certify_gradients):
    certify_gradients({"delta": DELTA, "kernel": KERNEL + 1}, **ONE)
"""
    )
    result = inside.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["E*AssertionError: *kernel at row 0, column 0: *7, what follows 6*"]
    )


@pytest.mark.long
def test_keras_subject_is_asked_for_claims(inside: Pytests) -> None:
    inside.claim("hand", OFF)
    inside.test(
        """
from pathlib import Path
import pytest
TEXT = Path("hand.claim.toml").read_text()
def test_judge(keras_subject):
    assert [v.verdict for v in keras_subject.judge(TEXT)] == ["differ", "agree"]
    assert "keras 3.15.1" in keras_subject.who
def test_right(keras_subject):
    keras_subject.check(TEXT.replace("0.65533695", "0.62533695"))
def test_wrong(keras_subject):
    keras_subject.check(TEXT)
def test_file(keras_subject):
    keras_subject.check(Path("hand.claim.toml"))
def test_nothing(keras_subject):
    keras_subject.check(TEXT.replace("from = ", "not_run = 'so'\\nfrom = "))
"""
    )
    result = inside.run("-k", "test_")
    result.assert_outcomes(passed=2, failed=3, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: the claim's own number does not hold: output at sample 0, *",
            "E         file      hand.claim.toml",
            "E       AssertionError: nothing was compared",
        ]
    )


def test_the_documents_example_passes_and_can_fail(inside: Pytests) -> None:
    text = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inside.test(program)
    inside.run().assert_outcomes(passed=2)
    inside.test(program.replace("u + 1", "u + 2").replace("[3]]])", "[4]]])"))
    inside.run().assert_outcomes(failed=2)


# --- our own claims -------------------------------------------------------------------------------


def ours(inside: Pytests) -> list[str]:
    """Options: every .toml file of ours is a claim, and the repository's own settings are not.

    Beside what is known lie scripts that import Keras, one of which is called like a test.
    """
    lines = "[pytest]", f"rnn_check_claims = {bundled()}", "python_files = none"
    ini = inside.pytester.makeini("\n".join(lines))
    return ["-q", "-c", str(ini)]


def test_the_bundled_claims_are_collected(inside: Pytests) -> None:
    article = bundled() / "article"
    result = inside.run(*ours(inside), "--collect-only", article)
    wanted = [e for claim in load_all([article]) for e in claim.expectations]
    assert len(collected(result)) == len(wanted) > 40
    assert collected(inside.run(*ours(inside), "--collect-only", files.known())) == []


@long
def test_the_bundled_claims_are_judged_through_it(inside: Pytests) -> None:
    """Of the Keras that is installed; what is known is expected, and nothing else fails."""
    folders = [bundled() / name for name in ("article", "published")]
    outcomes = inside.run_alone(*ALONE, *ours(inside), *folders).parseoutcomes()
    assert not {"failed", "errors", "error"} & outcomes.keys()
    there = sum(len(claim.expectations) for claim in load_all(folders))
    assert sum(outcomes[kind] for kind in ("passed", "skipped", "xfailed")) == there
    assert outcomes["xfailed"] > 0


@pytest.mark.upgrades
@pytest.mark.parametrize("release", ["8.0.0", ""], ids=["oldest", "newest"])
def test_it_runs_on_the_oldest_and_the_newest_pytest(inside: Pytests, release: str) -> None:
    """Each in a folder of its own, before the environment's."""
    target = inside.folder / "pytest"
    wanted = f"pytest=={release}" if release else "pytest"
    inside.pytester.run(
        sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", target, wanted
    )
    inside.claim("hand", OFF)
    root = str(Path(__file__).parents[2])
    (inside.folder / "conftest.py").write_text(PUPPET.format(root=root))
    result = inside.run_alone(*ALONE, "--junitxml=report.xml", environment=str(target))
    result.assert_outcomes(failed=1, passed=1)
    if release:
        result.stdout.fnmatch_lines([f"*pytest-{release},*"])
    result.stdout.fnmatch_lines(["the claim's own number does not hold: *"])
