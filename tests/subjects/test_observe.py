"""Whatever a subject does, is it one clear error, and does the host live on?

The subjects here are small scripts in real processes that really do it.
"""

from __future__ import annotations

import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnn_check
from rnn_check.subjects import ask as observe
from rnn_check.subjects.ask import NotInstalled, Raised, Subject, SubjectError, decode, encode
from rnn_check.subjects.asked import wire as subject
from tests.support.processes import wait_for
from tests.support.sampling import thinned

# Does what it is told, then gives back what it was given.
PUPPET = """
import ctypes, json, os, resource, signal, sys, time

def say(document):
    print(json.dumps(document), flush=True)

say({"hello": {"pid": os.getpid()}})
for line in sys.stdin:
    request = json.loads(line)
    exec(request.get("do", ""))
    say({"id": request["id"], "observed": {"x": request.get("x")}})
"""


def puppet(script: str = PUPPET, timeout: float = 60, **limits: Any) -> Subject:
    return Subject("tensorflow", command=[sys.executable, "-c", script], timeout=timeout, **limits)


def ask(asked: Subject, request: dict[str, Any]) -> dict[str, Any]:
    """What a puppet answers to a request, as NumPy's arrays."""
    wanted = request.get("ask", [])
    said = asked.said(request, wanted, wanted)
    return asked.understood(lambda: said)[1]


@pytest.fixture(scope="module")
def echo() -> Iterator[Subject]:
    with puppet() as echo:
        yield echo


# -- arrays, bit for bit ---------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1 / 3, 5e-324, 1e-40, 6e-8, 65504.0]
DTYPES = [name for name in subject.DTYPES if name != "bfloat16"]


def same_bits(a: Any, b: Any) -> bool:
    native = [np.asarray(c).astype(np.asarray(c).dtype.newbyteorder("=")) for c in (a, b)]
    same_kind = native[0].dtype == native[1].dtype and native[0].shape == native[1].shape
    return same_kind and native[0].tobytes() == native[1].tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_special_numbers_pass_the_pipe_bit_for_bit(echo: Subject, dtype: str) -> None:
    with np.errstate(over="ignore"):
        x = np.array(SPECIAL).astype(dtype)
    assert same_bits(ask(echo, {"x": x})["x"], x)


@pytest.mark.parametrize(
    "x",
    [
        np.float32(3),
        np.zeros((2, 0, 3), np.float32),
        np.arange(24).reshape(2, 3, 4).T,
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.array([[True, False]]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
    ids=["0-d", "empty", "transposed", "big-endian", "bool", "Fortran order"],
)
def test_every_layout_passes_the_pipe(echo: Subject, x: Any) -> None:
    assert same_bits(ask(echo, {"x": x})["x"], x)


@given(hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, min_side=0)))
def test_decode_undoes_encode(x: np.ndarray[Any, Any]) -> None:
    assert same_bits(decode(encode(x)), x)


def test_same_bits_can_say_no() -> None:
    assert not same_bits(np.float32(0.0), np.float32(-0.0))
    assert not same_bits(np.float32(1), np.float64(1))


@given(hnp.arrays(np.uint16, hnp.array_shapes()))
def test_every_bfloat16_arrives_exactly_as_the_upper_half_of_a_float32(
    bits: np.ndarray[Any, Any],
) -> None:
    arrived = decode({**encode(bits), "dtype": "bfloat16"})
    assert arrived.dtype == np.float32
    assert same_bits(arrived.view(np.uint32), bits.astype(np.uint32) << 16)


def test_a_decoded_array_can_be_written_to() -> None:
    decode(encode(np.zeros(3)))[0] = 1


def test_decode_reaches_into_dictionaries_and_lists() -> None:
    x = np.arange(3.0)
    found = decode({"a": [encode(x), 1], "b": {"kernel": encode(x)}, "c": "text"})
    assert same_bits(found["a"][0], x)
    assert same_bits(found["b"]["kernel"], x)
    assert (found["a"][1], found["c"]) == (1, "text")


@pytest.mark.parametrize(
    "broken",
    [
        {"shape": [2]},
        {"shape": [-1, 5]},
        {"dtype": "float64"},
        {"dtype": "object"},
        {"dtype": "surprise"},
        {"data": "no base64!"},
        {"data": 7},
    ],
    ids=str,
)
def test_an_array_that_does_not_hold_together_is_refused(
    echo: Subject, broken: dict[str, Any]
) -> None:
    x = {**encode(np.zeros(3, np.float32)), **broken}
    with pytest.raises((ValueError, TypeError)):
        decode(x)
    with pytest.raises(SubjectError, match="no array"):
        ask(echo, {"x": x})


# -- what a process can do to its host -------------------------------------------------------------

FATES = {
    "exits": ("print('my last words', file=sys.stderr); sys.exit(3)", "ended with exit code 3"),
    "segmentation fault": ("ctypes.string_at(0)", "was ended by SIGSEGV"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (out of memory?)"),
    "aborts": ("os.abort()", "was ended by SIGABRT"),
    "real-time signal": (f"os.kill(os.getpid(), {signal.SIGRTMIN + 1})", "was ended by signal"),
    "out of memory": (
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28)); bytes(1 << 30)",
        "ended with exit code 1",
    ),
    "raises": ("raise ValueError('no such thing')", "ended with exit code 1"),
    "garbage": ("print('Loading ...', flush=True)", "no JSON object: 'Loading ...'"),
    "binary garbage": (r"os.write(1, bytes(range(256)) + b'\n')", "no JSON object"),
    "deep garbage": ("print('[' * 100_000, flush=True)", "no JSON object"),
    "a list": ("say([1, 2])", "no JSON object: '[1, 2]'"),
    "someone else's reply": ("say({'id': 77, 'observed': {}})", "no reply"),
    "an empty reply": ("say({'id': request['id']})", "no reply"),
    "half a reply": ('os.write(1, b\'{"id": 1, "obs\'); os._exit(0)', "no JSON object"),
    "no array": (
        "x = {'dtype': 'float32', 'shape': [3], 'data': 'AAAA'};"
        "say({'id': request['id'], 'observed': {'output': x}})",
        "no array",
    ),
    "a list of answers": ("say({'id': request['id'], 'observed': [1]})", "did not answer anything"),
    "no answer": ("say({'id': request['id'], 'observed': {}})", "did not answer output"),
}


@thinned(6)
@pytest.mark.parametrize("fate", FATES)
def test_a_fate_is_one_clear_error_and_the_next_question_is_answered(fate: str) -> None:
    do, words = FATES[fate]
    with puppet() as asked:
        before = asked.hello["pid"]
        with pytest.raises(SubjectError) as raised:
            ask(asked, {"do": do, "ask": ["output"]})
        assert words in str(raised.value)
        assert "subject tensorflow" in str(raised.value)
        assert same_bits(ask(asked, {"x": np.arange(3)})["x"], np.arange(3))
        assert asked.hello["pid"] != before


def test_the_last_words_are_shown_and_what_was_asked() -> None:
    with puppet() as asked, pytest.raises(SubjectError) as raised:
        ask(asked, {"do": FATES["exits"][0], "ask": ["output", "probe"]})
    assert raised.value.stderr == "my last words"
    assert "asked for output, probe" in raised.value.message
    assert str(raised.value) == f"{raised.value.message}\nmy last words"


def test_only_the_last_lines_are_shown() -> None:
    talk = "print(*range(1000), sep='\\n', file=sys.stderr); sys.exit(1)"
    with puppet() as asked, pytest.raises(SubjectError) as raised:
        ask(asked, {"do": talk})
    assert raised.value.stderr.splitlines() == [str(i) for i in range(980, 1000)]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    "do",
    [
        "time.sleep(600)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "print('half a reply', end='', flush=True); time.sleep(600)",
    ],
    ids=["sleeps", "ignores being asked to end", "stops in the middle"],
)
def test_a_subject_that_hangs_is_ended_in_time(do: str) -> None:
    with puppet(timeout=0.5) as asked:
        with pytest.raises(SubjectError, match=r"gave no answer within 0\.5 s"):
            ask(asked, {"do": do})
        asked.timeout = 60
        assert ask(asked, {"x": 1}) == {"x": 1}


def test_a_subject_that_does_not_even_listen_is_ended_in_time() -> None:
    deaf = PUPPET.partition("for line")[0] + "time.sleep(600)"
    more_than_a_pipe_holds = np.zeros(1_000_000)
    with puppet(deaf, timeout=0.5) as asked, pytest.raises(SubjectError, match="no answer within"):
        ask(asked, {"x": more_than_a_pipe_holds})


def test_a_subject_that_hangs_while_it_starts_is_ended_in_time() -> None:
    with (
        puppet("import time; time.sleep(600)", start_timeout=0.5) as asked,
        pytest.raises(SubjectError, match=r"no answer within 0\.5 s \(starting\)"),
    ):
        asked.hello  # noqa: B018


def test_a_start_has_its_own_time() -> None:
    """An import takes longer than a question does, and longer at times."""
    slow = "import time; time.sleep(0.5)\n" + PUPPET
    with puppet(slow, timeout=0.2) as asked:
        assert asked.start_timeout == observe.START
        assert asked.hello["pid"]
    with puppet(timeout=2 * observe.START) as asked:
        assert asked.start_timeout == 2 * observe.START


def test_long_words_are_cut() -> None:
    words = "'error': 'E' * 5_000_000, 'traceback': ('T' * 5_000_000 + chr(10)) * 3"
    script = PUPPET.replace('"x": request.get("x")', f"'x': {{{words}}}")
    raises = f"say({{'id': request['id'], {words}}}); continue"
    with puppet(script) as asked:
        answer = ask(asked, {"x": 1})["x"]
        assert answer["error"].endswith("(4,998,000 characters more)")
        assert len(answer["error"]) + len(answer["traceback"]) < 10_000
    with puppet(PUPPET.replace('exec(request.get("do", ""))', raises)) as asked:
        with pytest.raises(Raised) as raised:
            ask(asked, {"do": "raise"})
        assert len(str(raised.value)) < 10_000


def test_half_a_character_is_no_text() -> None:
    """A surrogate by itself can be written in JSON, and can be printed and recorded nowhere."""
    with puppet() as asked:
        assert ask(asked, {"x": "a\ud800b é😀"}) == {"x": "a?b é😀"}


@pytest.mark.long
def test_a_subject_that_hangs_up_but_lives_on_is_ended() -> None:
    with puppet() as asked, pytest.raises(SubjectError, match="closed its pipe"):
        ask(asked, {"do": "os.close(1); time.sleep(600)"})


def test_a_subject_that_died_while_nobody_asked_is_an_error_once() -> None:
    with puppet() as asked:
        os.kill(asked.hello["pid"], signal.SIGKILL)
        with pytest.raises(SubjectError, match="SIGKILL"):
            ask(asked, {"x": 1})
        assert ask(asked, {"x": 1}) == {"x": 1}


def test_what_the_framework_raises_is_told_and_the_process_lives_on() -> None:
    raises = "say({'id': request['id'], 'error': 'ValueError: no', 'traceback': 'Trace'}); continue"
    script = PUPPET.replace('exec(request.get("do", ""))', f"if 'do' in request: {raises}")
    with puppet(script) as asked:
        before = asked.hello["pid"]
        with pytest.raises(Raised, match="raised ValueError: no\nTrace"):
            ask(asked, {"do": "raise"})
        reply = asked.reply({"do": "raise"})
        assert reply == {"id": 2, "error": "ValueError: no", "traceback": "Trace"}
        assert asked.hello["pid"] == before


def test_a_subject_that_is_killed_from_elsewhere_is_not_started_anew() -> None:
    with puppet() as asked, ThreadPoolExecutor(1) as pool:
        asked.hello  # noqa: B018
        waiting = pool.submit(ask, asked, {"do": "time.sleep(600)"})
        wait_for(lambda: asked._asked)
        asked.kill()
        with pytest.raises(SubjectError):
            waiting.result()
        with pytest.raises(SubjectError):
            ask(asked, {"x": 1})


def test_what_is_typed_at_the_terminal_does_not_reach_a_subject() -> None:
    """Ctrl-C is sent to the process group of the terminal, and the host answers it."""
    with puppet() as asked:
        assert os.getpgid(asked.hello["pid"]) != os.getpgid(os.getpid())


def test_the_subjects_own_words_are_told_beside_what_they_mean() -> None:
    x = {**encode(np.arange(3, dtype=np.uint16)), "dtype": "bfloat16"}
    with puppet() as asked:
        said, observed = asked.understood(lambda: asked.said({"x": x}, ["x"]))
    assert said == {"x": x}
    assert same_bits(observed["x"], decode(x))


def test_a_closed_subject_leaves_no_process() -> None:
    with puppet() as asked:
        pid = asked.hello["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    asked.close()  # and closing twice is no error


# -- who cannot be asked at all --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import no_such_package", "ended with exit code 1 (starting)\nTraceback"),
        ('print(\'{"error": "ImportError: libcuda"}\')', "did not start: ImportError: libcuda"),
        ("print('{}')", "said no hello: {}"),
        ("print('Welcome!')", "no JSON object: 'Welcome!'"),
    ],
)
def test_a_subject_that_does_not_start(script: str, words: str) -> None:
    with puppet(script) as asked, pytest.raises(SubjectError) as raised:
        ask(asked, {})
    assert words in str(raised.value)


def test_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(SubjectError, match=r"cannot be started: .*no_such_python"):
        Subject("tensorflow", python="/no_such_python")


KNOWN = "; known: jax, numpy, openvino, tensorflow, torch"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tensorlow", f"unknown backend 'tensorlow'; did you mean `tensorflow`?{KNOWN}"),
        ("pytorch", f"unknown backend 'pytorch'; did you mean `torch`?{KNOWN}"),
        ("mxnet!", f"unknown backend 'mxnet!'{KNOWN}"),
    ],
)
def test_an_unknown_backend_names_the_nearest(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotInstalled) as raised:
        Subject(name)
    assert str(raised.value) == words
    monkeypatch.setenv("KERAS_BACKEND", name)  # and so does one that Keras would take
    with pytest.raises(NotInstalled, match="unknown backend"):
        Subject()


MAIN = str(Path(subject.__file__).with_name("__main__.py"))


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("backend", "absent"), [("jax", "jax"), ("torch", "torch"), ("numpy", "keras")]
)
def test_a_backend_that_is_not_installed_says_what_brings_it(backend: str, absent: str) -> None:
    script = (
        f"import runpy, sys; sys.modules[{absent!r}] = None;"
        f"runpy.run_path({MAIN!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", script]
    with Subject(backend, command=command) as asked, pytest.raises(NotInstalled) as raised:
        asked.hello  # noqa: B018
    assert str(raised.value) == (
        f"the backend {backend} is not installed (no {absent});"
        f' python -m pip install "rnn_check[{backend}]" brings it'
    )


@pytest.mark.parametrize(
    ("variable", "file", "expected"),
    [
        ("jax", '{"backend": "torch"}', "jax"),
        ("", '{"backend": "torch"}', "torch"),
        (None, '{"backend": "torch"}', "torch"),
        (None, '{"floatx": "float32"}', "tensorflow"),
        (None, "not JSON", "tensorflow"),
        (None, "[]", "tensorflow"),
        (None, None, "tensorflow"),
    ],
)
def test_the_default_backend_is_what_keras_would_take(
    variable: str | None,
    file: str | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if file is not None:
        (tmp_path / "keras.json").write_text(file)
    assert observe.default_backend() == expected


# -- the host imports no framework -----------------------------------------------------------------

FRAMEWORKS = ("keras", "tensorflow", "jax", "torch", "openvino")


def frameworks_after(imports: list[str], *path: Path) -> list[str]:
    """Which frameworks a fresh Python has imported after these modules."""
    script = (
        f"import importlib, sys; sys.path[:0] = {[str(folder) for folder in path]!r};"
        f"[importlib.import_module(name) for name in {imports!r}];"
        f"print(*[name for name in {FRAMEWORKS!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return ran.stdout.split()


def test_no_module_imports_a_framework() -> None:
    names = [m.name for m in pkgutil.walk_packages(rnn_check.__path__, "rnn_check.")]
    modules = [name for name in names if name != "rnn_check.__main__"]  # which would run
    assert {"rnn_check.subjects.asked.session", "rnn_check.numbers.activations"} <= set(modules)
    assert frameworks_after(modules) == []


def test_that_test_can_fail(tmp_path: Path) -> None:
    (tmp_path / "jax.py").touch()
    (tmp_path / "innocent.py").write_text("import jax")
    assert frameworks_after(["innocent"], tmp_path) == ["jax"]
