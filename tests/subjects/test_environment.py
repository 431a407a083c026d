"""Is a word resolved as it is meant, and is an environment either whole or not there?

Nothing is fetched: the packages are small wheels that the tests make, which uv finds in a folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnn_check.cli.commands import main
from rnn_check.subjects import environments as environment
from rnn_check.subjects.environments import (
    NOW,
    Package,
    Python,
    Unmade,
    WordError,
    kept,
    locks,
    programs,
    resolution,
    uv,
)
from tests.support.processes import is_gone, wait_for
from tests.support.sampling import sampled, thinned

HERE = environment.find_python()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "rnn_check"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)
    return folder


def wheel(
    folder: Path,
    name: str,
    version: str,
    *needs: str,
    code: str = "",
    listed: Sequence[str] = (),
) -> None:
    """A wheel of one package that knows its version; listed: what else its RECORD says it holds."""
    folder.mkdir(exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    about = f"{stem}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {need}" for need in needs]
    module = name.replace("-", "_")
    files = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n{code}\n",
        f"{about}/METADATA": "\n".join(metadata) + "\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(
        f"{path},,\n" for path in (*files, f"{about}/RECORD", *listed)
    )
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which is all that the installer finds."""
    folder = tmp_path / "wheels"
    for version in ("3.0.0", "3.1.0", "3.1.1", "3.2.0rc1"):
        wheel(folder, "keras", version, "numpy<3")
    wheel(folder, "jax", "0.4.0", "keras>=3.1")
    wheel(folder, "numpy", "2.0.0")
    wheel(folder, "packaging", "24.0")
    wheel(folder, "keras-nightly", "3.9.0.dev1")
    wheel(folder, "tf-nightly", "2.9.0.dev1", "keras", "keras-nightly")
    (tmp_path / "uv.toml").write_text(f"no-index = true\nfind-links = [{str(folder)!r}]\n")
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    return folder


# -- words -----------------------------------------------------------------------------------------

P = "packaging"
WORDS = {
    "tensorflow==2.13.1": (["tensorflow==2.13.1"], "tensorflow"),
    "tensorflow-cpu==2.13.1": (["tensorflow-cpu==2.13.1"], "tensorflow"),
    "tf-nightly": (["tf-nightly"], "tensorflow"),
    "keras==3.0.0": (["keras==3.0.0", "tensorflow"], "tensorflow"),
    "keras==3.0.0@numpy": (["keras==3.0.0", "jax[cpu]", "scipy", P], "numpy"),
    "Keras==3.12.0,jax==0.7.2@jax": (["Keras==3.12.0", "jax[cpu]==0.7.2", P], "jax"),
    "jax==0.7.2": (["jax[cpu]==0.7.2", P, "keras"], "jax"),
    "jax[cuda12]==0.7.2": (["jax[cuda12]==0.7.2", P, "keras"], "jax"),
    "keras>=3,<3.2,openvino": (["keras<3.2,>=3", "openvino", "scipy", P], "openvino"),
    "keras-nightly@torch": (["keras-nightly", "torch", P], "torch"),
    "tensorflow==2.18.0,jax@jax": (["tensorflow==2.18.0", "jax[cpu]", P, "keras"], "jax"),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_says_what_it_needs_and_on_which_backend(word: str) -> None:
    wanted = environment.parse(word)
    assert (list(wanted.requirements), wanted.backend) == WORDS[word]
    assert len(wanted.named) <= len(wanted.requirements)


WRONG = {
    "tensorflow=2.13.1": "with two equal signs",
    "tensorfow==2.13": "brings no Keras; did you mean `tensorflow`?",
    "numpy==2.0.0": "brings no Keras",
    "keras==3.0.0@jaxx": "unknown backend 'jaxx'; did you mean `jax`?",
    "keras==3.0.0@": "unknown backend ''",
    "keras>=3,jax,keras<3.2": "names keras twice",
    "jax,torch": "on which backend? Add one of @jax, @torch",
    "": "is no requirement",
    "keras==3.0.0,": "'' is no requirement",
}


@pytest.mark.parametrize("word", WRONG)
def test_a_word_that_is_wrong_is_refused(word: str) -> None:
    with pytest.raises(WordError) as refused:
        environment.parse(word)
    assert WRONG[word] in str(refused.value)
    assert repr(word) in str(refused.value)


# -- resolving -------------------------------------------------------------------------------------


def pins(word: str, as_of: str = NOW) -> list[str]:
    return environment.resolve(environment.parse(word), HERE, as_of).pins


def test_what_is_open_is_the_newest_that_is_no_candidate(index: Path) -> None:
    assert pins("keras,jax@jax") == [
        *("jax==0.4.0", "keras==3.1.1", "numpy==2.0.0", "packaging==24.0"),
    ]
    assert pins("keras==3.1.0,jax") == [
        *("jax==0.4.0", "keras==3.1.0", "numpy==2.0.0", "packaging==24.0"),
    ]


def test_a_candidate_that_is_named_is_taken(index: Path) -> None:
    assert "keras==3.2.0rc1" in pins("keras==3.2.0rc1,jax")


def test_a_nightly_keras_has_no_keras_beside_it(index: Path) -> None:
    assert pins("tf-nightly") == [
        *("keras-nightly==3.9.0.dev1", "numpy==2.0.0", "tf-nightly==2.9.0.dev1"),
    ]


@pytest.mark.parametrize("word", ["keras==3.0.0,jax", "keras==9.9,jax"])
def test_what_cannot_be_resolved_says_so_in_the_installers_words(index: Path, word: str) -> None:
    with pytest.raises(Unmade) as failed:
        pins(word)
    assert "cannot be resolved" in failed.value.message
    assert "keras" in failed.value.stderr


def test_what_was_resolved_is_believed_for_a_day_and_longer_without_an_index(
    index: Path, cache: Path
) -> None:
    before = pins("keras,jax")
    wheel(index, "keras", "3.1.2", "numpy<3")
    assert pins("keras,jax") == before
    wanted = environment.parse("keras,jax")
    anew = environment.resolve(wanted, HERE, NOW, refresh=True)
    assert "keras==3.1.2" in anew.pins
    (file,) = (cache / "resolutions").glob("*.json")
    document = json.loads(file.read_text())
    document["made"] = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    file.write_text(json.dumps(document))
    wheel(index, "keras", "3.1.3", "numpy<3")
    assert "keras==3.1.3" in pins("keras,jax")
    file.write_text(json.dumps(document))
    for each in index.iterdir():
        each.unlink()
    assert pins("keras,jax") == anew.pins
    file.write_text("{")
    with pytest.raises(Unmade):
        pins("keras,jax")


def test_an_old_resolution_that_has_to_do_is_said(index: Path, cache: Path) -> None:
    fresh = made("keras,jax")
    assert fresh.stale == ""
    (file,) = (cache / "resolutions").glob("*.json")
    document = json.loads(file.read_text())
    for made_at in ("2026-01-05T12:00:00+00:00", "2999-01-05T12:00:00+00:00"):
        file.write_text(json.dumps({**document, "made": made_at}))
        for each in index.iterdir():
            each.unlink()
        old = made("keras,jax")
        assert old.pins == fresh.pins
        assert old.stale.startswith(f"resolved on {made_at[:10]}, as it cannot be looked up again")


JUNK = [
    "",
    "[]",
    "{}",
    "7",
    "[" * 5000,
    '{"packages": []}',
    '{"packages": [[1, 2, []]]}',
    '{"packages": [["keras", "3.1.0", []]]}',
    '{"packages": [["keras", "x", []], ["jax", "0.4.0", []], ["packaging", "24.0", []]]}',
    '{"packages": [["keras", "2.0", []], ["jax", "0.4.0", []], ["packaging", "24.0", []]]}',
    '{"packages": [["keras", "3.1.0", ["--no-deps"]], ["jax", "1", []], ["packaging", "24", []]]}',
    '{"packages": null, "made": 3}',
    '{"made": "2026-01-05T12:00:00"}',
]


@thinned(8)
@pytest.mark.parametrize("junk", JUNK)
def test_a_resolution_that_is_junk_is_not_believed(index: Path, cache: Path, junk: str) -> None:
    before = made("keras==3.1.0,jax")
    (file,) = (cache / "resolutions").glob("*.json")
    try:
        text = json.dumps({**json.loads(file.read_text()), **json.loads(junk)})
    except (TypeError, ValueError, RecursionError):
        text = junk
    file.write_text(text)
    assert made("keras==3.1.0,jax") == before


class Dated:
    """An installer for whom keras 3.0.0 came out on day 0, and a jax that fits it on day 40."""

    day0 = datetime(2024, 1, 1, 12, tzinfo=UTC)

    def __init__(self) -> None:
        self.asked: list[datetime | None] = []

    def lock(
        self, requirements: Sequence[str], python: Python, before: datetime | None
    ) -> tuple[Package, ...]:
        self.asked.append(before)
        if before is not None and before < self.day0 + timedelta(days=40):
            raise programs.Failed("no jax fits")
        jax = "2" if before is None else "1"
        return Package("keras", "3.0.0", self.day0), Package("jax", jax)


def test_what_is_open_is_taken_as_it_was_at_the_release_or_soon_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dated = Dated()
    monkeypatch.setattr(resolution, "installer", lambda: dated)
    found = environment.resolve(environment.parse("keras==3.0.0@jax"), HERE)
    assert found.pins == ["jax==1", "keras==3.0.0"]
    assert found.as_of == "2024-03-01"
    ends = [None, date(2024, 1, 2), date(2024, 2, 1), date(2024, 3, 2)]
    assert [day and day.date() for day in dated.asked] == ends


def test_a_day_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    dated = Dated()
    monkeypatch.setattr(resolution, "installer", lambda: dated)
    wanted = environment.parse("keras@jax")
    found = environment.resolve(wanted, HERE, date(2024, 5, 31))
    assert dated.asked == [datetime(2024, 6, 1, tzinfo=UTC)]
    assert found.as_of == "2024-05-31"
    with pytest.raises(Unmade, match="no jax fits"):
        environment.resolve(wanted, HERE, date(2024, 1, 1))


def test_versions_are_listed_one_by_one(index: Path) -> None:
    assert environment.newest("keras", HERE) == "3.1.1"
    assert environment.newest("keras<3.1.1,>=3.0", HERE) == "3.1.0"
    assert environment.newest("keras<3.0.0,>=3.0.0", HERE) is None


# -- making ----------------------------------------------------------------------------------------


def made(word: str) -> environment.Environment:
    return environment.resolve(environment.parse(word), HERE, NOW)


def make(
    environment_: environment.Environment, tell: Callable[[str], None] = lambda stage: None
) -> str:
    """Its interpreter, once it is there."""
    with environment_.held(tell) as python:
        return python


def test_an_environment_holds_what_was_resolved_and_is_made_once(index: Path) -> None:
    told: list[str] = []
    environment_ = made("keras==3.1.0,jax")
    python = make(environment_, told.append)
    code = "import keras, jax, sys; print(keras.__version__, sys.prefix != sys.base_prefix)"
    said = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["3.1.0", "True"]
    for each in index.iterdir():
        each.unlink()
    assert make(made("keras==3.1.0,jax"), told.append) == python
    assert told == ["installing"]
    (listed,) = kept.cached()
    assert listed.about is not None
    assert listed.about.packages == environment_.pins
    assert listed.about.python == HERE.version
    assert listed.size > 1000


def test_what_cannot_be_installed_leaves_nothing(index: Path, cache: Path) -> None:
    environment_ = made("keras==3.1.0,jax")
    (index / "numpy-2.0.0-py3-none-any.whl").unlink()
    with pytest.raises(Unmade) as failed:
        make(environment_)
    assert "cannot be made" in failed.value.message
    assert "numpy" in failed.value.stderr
    assert list((cache / "environments").iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment_ = made("keras==3.1.0,jax")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(Unmade, match="cannot be made: No space left on device"):
        make(environment_)
    assert list((cache / "environments").iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away(index: Path, cache: Path) -> None:
    folders = cache / "environments"
    environment_ = made("keras==3.1.0,jax")
    left, made_now = (folders / f".partial-{digit * 20}-0b" for digit in "ab")
    strange = [folders / name for name in (".partial-abc", ".partial-12-" + "c" * 20)]
    for folder in (left, made_now, *strange, environment_.folder):  # the last is half-removed
        folder.mkdir(parents=True)
    with locks.locked("b" * 20):
        assert Path(make(environment_)).exists()
    names = {made_now.name, *(each.name for each in strange), environment_.folder.name}
    assert {each.name for each in folders.iterdir()} == names


def test_at_one_time_one_thread_makes_an_environment(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages of two subjects on two backends are one environment."""
    installed: list[Path] = []
    install = uv.Uv.install

    def counted(self: uv.Uv, folder: Path, *rest: Any) -> None:
        installed.append(folder)
        install(self, folder, *rest)

    monkeypatch.setattr(uv.Uv, "install", counted)
    wheel(index, "scipy", "1.0")
    word = "keras==3.1.0,jax,scipy,packaging"
    both = [made(f"{word}@{backend}") for backend in ("jax", "numpy")]
    assert both[0].key == both[1].key
    with ThreadPoolExecutor(8) as pool:
        pythons = set(pool.map(lambda i: make(both[i % 2]), range(8)))
    assert len(installed) == len(pythons) == 1
    assert not [f for f in environment.environments().iterdir() if f.name.startswith(".")]


MAKES = """
import sys
from rnn_check.subjects import environments as environment
here = environment.find_python()
with environment.resolve(environment.parse(sys.argv[1]), here, "now").held() as made:
    print(made, flush=True)
    sys.stdin.readline()
"""


def test_at_one_time_one_process_makes_an_environment(index: Path) -> None:
    """Nobody's environment is replaced while a subject runs from it."""
    command = [sys.executable, "-c", MAKES, "keras==3.1.0,jax"]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(3)]
    folders = {Path(each.communicate()[0].strip()).parents[1] for each in both}
    assert [each.returncode for each in both] == [0, 0, 0]
    (folder,) = folders
    inode = folder.stat().st_ino
    assert Path(make(made("keras==3.1.0,jax"))).parents[1].stat().st_ino == inode


def remove_python(folder: Path) -> None:
    python = folder / "bin/python"
    python.unlink()
    python.symlink_to("/no/such/python")


def site(folder: Path) -> Path:
    (found,) = folder.glob("lib/python*/site-packages")
    return found


def remark(text: str, folder: Path) -> None:
    (folder / "rnn_check.json").write_text(text)


DAMAGES = {
    "Python was moved": remove_python,
    "no interpreter": lambda folder: (folder / "bin/python").unlink(),
    "a package is gone": lambda folder: shutil.rmtree(site(folder) / "numpy"),
    "a file is gone": lambda folder: (site(folder) / "jax/__init__.py").unlink(),
    "metadata is gone": lambda folder: shutil.rmtree(next(site(folder).glob("jax*.dist-info"))),
    **{
        f"a mark that is {text[:20]}": partial(remark, text)
        for text in ("", "[]", "{}", "1", '{"made": 1}', '{"packages": ["keras==1"]}', "[" * 1000)
    },
}


@thinned(4)
@pytest.mark.parametrize("damage", sampled(DAMAGES, 3))
def test_a_damaged_environment_is_made_anew(index: Path, damage: str) -> None:
    environment_ = made("keras==3.1.0,jax")
    make(environment_)
    DAMAGES[damage](environment_.folder)
    told: list[str] = []
    python = make(environment_, told.append)
    assert told == ["installing"]
    code = "import keras, jax, numpy"
    assert subprocess.run([python, "-I", "-c", code]).returncode == 0
    make(environment_, told.append)
    assert told == ["installing"]


def test_what_a_package_never_brought_does_not_make_it_damaged(index: Path) -> None:
    """Its RECORD lists a file that is not in its wheel, and will never be there."""
    wheel(index, "keras", "3.1.7", "numpy<3", listed=("keras/none.py",))
    told: list[str] = []
    for _ in range(2):
        make(made("keras==3.1.7,jax"), told.append)
    assert told == ["installing"]


def test_another_index_is_another_environment_and_a_file_has_to_be_the_one_that_was_resolved(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private index with a patched Keras of the same version is not what others get."""
    one = made("keras==3.1.0,jax")
    assert all(package.hashes for package in one.packages)
    wheel(index, "keras", "3.1.0", "numpy<3", code="patched = True")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))  # where the old one is gone, too
    with pytest.raises(Unmade) as failed:
        make(one)
    assert "hash mismatch" in failed.value.stderr.lower()
    with monkeypatch.context() as patch:
        patch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
        other = made("keras==3.1.0,jax")
    assert other.pins == one.pins
    assert other.key != one.key
    code = "import keras; print(keras.patched)"
    said = subprocess.run([make(other), "-I", "-c", code], capture_output=True, text=True)
    assert said.stdout == "True\n"
    (tmp_path / "uv.toml").write_text((tmp_path / "uv.toml").read_text() + "# another\n")
    assert made("keras==3.1.0,jax").key not in (one.key, other.key)
    # UV_CACHE_DIR says how things are fetched, not which
    assert environment.told() == ["UV_CONFIG_FILE"]


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", ["uv.toml", "pyproject.toml"])
def test_a_configuration_that_lies_here_says_nothing(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither where packages come from nor which: what is told in the environment is all."""
    monkeypatch.delenv("UV_CONFIG_FILE")  # beside which no other would be looked for
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    wheel(tmp_path / "evil", "keras", "3.1.9", "numpy<3", code="patched = True")
    here = tmp_path / "here"
    here.mkdir()
    table = "[tool.uv]\n" if name == "pyproject.toml" else ""
    says = {
        "where": f"find-links = [{str(tmp_path / 'evil')!r}]\n",
        "which": 'override-dependencies = ["keras==3.0.0"]\n',
    }
    before = made("keras,jax")
    assert "keras==3.1.1" in before.pins
    monkeypatch.chdir(here)
    for said in says.values():
        (here / name).write_text(table + said)
        assert environment.resolve(before.wanted, HERE, NOW, refresh=True) == before


def test_ctrl_c_ends_an_installer_and_what_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    slow = f"sleep 600 & echo $! > {pid}; wait"

    def interrupted() -> None:
        with ThreadPoolExecutor(1) as pool, environment.interruptible(told.append):
            pool.submit(programs.ran, "sh", "-c", slow)
            wait_for(pid.read_text)
            raise KeyboardInterrupt

    told: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert told == [1]
    with pytest.raises(programs.Failed, match="interrupted"):
        programs.ran("true")
    with environment.interruptible(told.append):
        programs.ran("true")
    assert told == [1]
    wait_for(lambda: is_gone(int(pid.read_text())))


def test_other_packages_or_another_python_are_another_environment(index: Path) -> None:
    one, other = made("keras==3.1.0,jax"), made("keras==3.1.1,jax")
    assert one.key != other.key
    newer = environment.Environment(one.wanted, Python("python", "3.99.0"), one.packages, NOW)
    assert newer.key != one.key
    assert one.key == made("keras>=3.1,<3.1.1,jax").key


# -- interpreters ----------------------------------------------------------------------------------


def test_a_python_is_this_one_or_one_of_a_version_or_at_a_path() -> None:
    minor = ".".join(HERE.version.split(".")[:2])
    assert environment.find_python() == HERE
    assert environment.find_python(minor).version.startswith(minor + ".")
    assert environment.find_python(sys.executable).version == HERE.version


@thinned(2)
@pytest.mark.parametrize("wanted", ["3.1", "3.11.99", "/no/such/python", "three"])
def test_a_python_that_is_not_there_is_refused(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(WordError, match=wanted):
        environment.find_python(wanted)


# -- the cache -------------------------------------------------------------------------------------


def cache_command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["cache", *map(str, arguments)])


def entry(cache: Path, key: str, days: float = 0, size: int = 1000) -> Path:
    """An environment that was used so many days ago."""
    folder = cache / "environments" / key
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(bytes(size))
    mark = folder / "rnn_check.json"
    mark.write_text(
        '{"requirements": ["keras==3"], "python": "3.11.7", "packages": [], "made": "2026-01-05"}'
    )
    when = time.time() - days * 86400
    os.utime(mark, (when, when))
    return folder


def test_a_key_that_is_shown_is_a_key_that_can_be_cleared(cache: Path) -> None:
    folders = [entry(cache, digit * 20) for digit in "abc"]
    shown = cache_command("list").stdout
    (key,) = (word for word in shown.split() if word.startswith("bbb"))
    cleared = cache_command("clear", key)
    assert cleared.exit_code == 0
    assert [folder.exists() for folder in folders] == [True, False, True]
    for wrong in (key, "zz", ""):
        refused = cache_command("clear", wrong)
        assert refused.exit_code == 2
        assert f"no environment has a key that starts with {wrong!r}" in refused.stderr
    entry(cache, "a" * 19 + "b")
    assert (
        "2 environments have a key that starts with 'aaa'" in cache_command("clear", "aaa").stderr
    )


def test_environments_that_were_not_used_for_long_are_cleared(cache: Path) -> None:
    old, new = entry(cache, "a" * 20, days=31), entry(cache, "b" * 20, days=29)
    answers = [cache / "answers" / name for name in ("old.npz", "new.npz")]
    answers[0].parent.mkdir()
    for file, days in zip(answers, (31, 29), strict=True):
        file.touch()
        os.utime(file, (time.time() - days * 86400,) * 2)
    assert cache_command("clear", "--older-than", "30d").exit_code == 0
    assert [each.exists() for each in (old, new, *answers)] == [False, True, False, True]


def test_the_longest_unused_are_cleared_down_to_a_size(cache: Path) -> None:
    folders = [
        entry(cache, digit * 20, days, 10_000) for digit, days in (("a", 3), ("b", 1), ("c", 2))
    ]
    assert cache_command("clear", "--size", "25kB").exit_code == 0
    assert [folder.exists() for folder in folders] == [False, True, True]
    assert cache_command("clear", "--size", "0").exit_code == 0
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--older-than", "month"), "expected an age such as 30d, 12h or 8w, got 'month'"),
        (("--size", "big"), "expected a size such as 20GB or 500MB, got 'big'"),
        (("--size", "-1"), "expected a size"),
        (("abc", "--size", "1GB"), "a KEY goes with neither"),
    ],
)
def test_what_is_to_be_cleared_is_checked(
    cache: Path, arguments: tuple[str, ...], message: str
) -> None:
    folder = entry(cache, "a" * 20)
    refused = cache_command("clear", *arguments)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert folder.exists()


def test_what_is_not_whole_is_listed_and_disturbs_nothing(index: Path, cache: Path) -> None:
    make(made("keras==3.1.0,jax"))
    marks = ("[]", "{}", "1", '{"made": 1}', "[" * 5000, '{"requirements": 3}')
    for number, text in enumerate(marks):
        (entry(cache, f"{number:020}") / "rnn_check.json").write_text(text)
    (cache / "environments" / ".partial-abc").mkdir()
    (cache / "environments" / "a file").touch()
    listed = cache_command("list")
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.count("not whole") == len(marks) + 1
    assert "keras==3.1.0, jax[cpu], packaging" in listed.stdout
    make(made("keras==3.1.1,jax"))
    assert cache_command("clear", ".partial-abc").exit_code == 0
    assert not (cache / "environments" / ".partial-abc").exists()


def test_what_cannot_be_removed_is_named_whole(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = entry(cache, "a" * 20)

    def stuck(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", "CACHEDIR.TAG")

    monkeypatch.setattr(shutil, "rmtree", stuck)
    for arguments in ((), ("aaa",)):
        refused = cache_command("clear", *arguments)
        assert refused.exit_code == 2
        assert f"{folder} cannot be removed: Permission denied (CACHEDIR.TAG)" in refused.stderr


def test_what_is_being_installed_is_not_removed(cache: Path) -> None:
    folder = entry(cache, "a" * 20)
    with locks.locked("a" * 20):
        refused = cache_command("clear", "aaa")
    assert refused.exit_code == 2
    assert "is being installed by another run; it stays" in refused.stderr
    assert folder.exists()


@pytest.fixture
def used(index: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """An environment that another process uses, until it reads a line or is killed."""
    command = [sys.executable, "-c", MAKES, "keras==3.1.0,jax"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as user:
        assert user.stdout is not None
        yield Path(user.stdout.readline().strip()).parents[1], user
        user.kill()


ALL_OF_IT = {(): 2, ("--older-than", "0h"): 0, ("--size", "0"): 0}


@thinned(3)
@pytest.mark.parametrize("arguments", ALL_OF_IT)
def test_what_another_process_uses_is_left_and_is_named(
    used: tuple[Path, subprocess.Popen[str]], cache: Path, arguments: tuple[str, ...]
) -> None:
    """All the rest is removed."""
    folder, user = used
    other = entry(cache, "z" * 20, days=1)
    (cache / "environments" / "a file").touch()
    cleared = cache_command("clear", *arguments)
    assert cleared.exit_code == ALL_OF_IT[arguments]
    assert f"{folder.name} is in use by another run; it stays\n" in cleared.stderr
    assert (other.exists(), folder.exists()) == (False, True)
    assert [each.key for each in kept.cached() if each.about] == [folder.name]
    user.kill()  # and can tell nobody that it does not need it any more
    user.wait()
    again = cache_command("clear", *arguments)
    assert (again.exit_code, again.stderr) == (0, "")
    assert not folder.exists()


def test_a_key_that_another_process_uses_is_refused_and_others_are_removed(
    used: tuple[Path, subprocess.Popen[str]], cache: Path
) -> None:
    folder, user = used
    other = entry(cache, "z" * 20)
    refused = cache_command("clear", folder.name, "zzz")
    assert refused.exit_code == 2
    assert f"Error: {folder.name} is in use by another run; it stays\n" in refused.stderr
    assert (other.exists(), folder.exists()) == (False, True)
    user.communicate("that is all\n")
    assert cache_command("clear", folder.name).exit_code == 0
    assert not folder.exists()
    assert list((cache / "locks").glob("*.*.lock")) == []


def test_what_several_use_is_in_use_until_the_last_has_ended(
    used: tuple[Path, subprocess.Popen[str]],
) -> None:
    folder, user = used
    with made("keras==3.1.0,jax").held(), made("keras==3.1.0,jax").held():
        user.communicate("that is all\n")
        assert cache_command("clear", folder.name).exit_code == 2
        with made("keras==3.1.0,jax").held():
            pass
        assert cache_command("clear", folder.name).exit_code == 2
    assert cache_command("clear", folder.name).exit_code == 0


def test_what_is_in_use_counts_among_the_last_used(
    used: tuple[Path, subprocess.Popen[str]], cache: Path
) -> None:
    folder, _ = used
    os.utime(folder / "rnn_check.json", (0, 0))
    other = entry(cache, "z" * 20, size=10)
    (size,) = (each.size for each in kept.cached() if each.key == folder.name)
    assert cache_command("clear", "--size", size).stderr == ""
    assert (other.exists(), folder.exists()) == (False, True)


def test_a_damaged_environment_is_made_anew_when_nobody_uses_it_any_more(
    used: tuple[Path, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a subject that runs are not exchanged."""
    folder, user = used
    shutil.rmtree(site(folder) / "numpy")
    inode = folder.stat().st_ino
    told: list[tuple[str, bool]] = []

    def tell(stage: str) -> None:
        told.append((stage, folder.stat().st_ino == inode))
        if len(told) == 2:
            user.kill()

    monkeypatch.setattr("rnn_check.subjects.environments.environment.LOOK", 0.01)
    make(made("keras==3.1.0,jax"), tell)
    stages = [stage for stage, _ in told]
    assert {*stages[:-1]} == {"waiting for another run, which uses it, to make it anew"}
    assert stages[-1] == "installing"
    assert all(is_old for _, is_old in told)
    assert folder.stat().st_ino != inode


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    "error", [OSError(30, "Read-only file system"), NotImplementedError("no flock here")]
)
def test_a_whole_environment_in_a_cache_without_locks_is_used(
    index: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Where nobody can lock, nobody can remove."""
    python = make(made("keras==3.1.0,jax"))

    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(locks, "_lock", refuse)
    with made("keras==3.1.0,jax").held() as again:
        assert again == python
    with pytest.raises(Unmade, match="cannot be made"), made("keras==3.1.1,jax").held():
        pass
    assert cache_command("clear", "--size", "1GB").exit_code == 0
    for arguments in ((), ("--size", "0")):
        refused = cache_command("clear", *arguments)
        assert refused.exit_code == 2
        words = error.args[-1]
        assert f"{Path(python).parents[1]} cannot be removed: {words}\n" in refused.stderr


def test_the_cache_is_listed_and_cleared(index: Path, cache: Path) -> None:
    make(made("keras==3.1.0,jax"))
    (cache / "jax" / "a-cpu").mkdir(parents=True)  # what jax compiled
    (cache / "theirs").mkdir()
    listed = CliRunner().invoke(main, ["cache", "list"])
    assert listed.exit_code == 0
    assert "keras==3.1.0, jax[cpu], packaging" in listed.stdout
    assert "1 environment," in listed.stdout
    cleared = CliRunner().invoke(main, ["cache", "clear"])
    assert cleared.exit_code == 0
    assert cleared.stdout.startswith("removed ")
    assert sorted(each.name for each in cache.iterdir()) == ["locks", "theirs"]
    assert "0 environments, 0 bytes" in CliRunner().invoke(main, ["cache", "list"]).stdout
