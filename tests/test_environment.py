"""Is a word resolved as it is meant, and is an environment either whole or not there?

Nothing is fetched: the packages are small wheels that the tests make, which uv and pip find in a
folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnn_check import environment
from rnn_check.cli import main
from rnn_check.environment import NOW, Package, Python, Unmade, WordError

HERE = environment.find_python()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setattr(
        environment.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "c"
    )
    return tmp_path / "c"


WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """A wheel of one module that knows its version."""
    folder.mkdir(exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    about = f"{stem}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {need}" for need in needs]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name.replace('-', '_')}.py", f"__version__ = {version!r}\n")
        archive.writestr(f"{about}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")


@pytest.fixture(params=["uv", "pip"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installs."""
    if request.param == "pip":
        monkeypatch.setattr(environment, "installer", environment._Pip)


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
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
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


@pytest.mark.usefixtures("either")
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
            raise environment._Failed("no jax fits")
        jax = "2" if before is None else "1"
        return Package("keras", "3.0.0", self.day0), Package("jax", jax)


def test_what_is_open_is_taken_as_it_was_at_the_release_or_soon_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dated = Dated()
    monkeypatch.setattr(environment, "installer", lambda: dated)
    found = environment.resolve(environment.parse("keras==3.0.0@jax"), HERE)
    assert found.pins == ["jax==1", "keras==3.0.0"]
    assert found.as_of == "2024-03-01"
    ends = [None, date(2024, 1, 2), date(2024, 2, 1), date(2024, 3, 2)]
    assert [day and day.date() for day in dated.asked] == ends


def test_a_day_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    dated = Dated()
    monkeypatch.setattr(environment, "installer", lambda: dated)
    wanted = environment.parse("keras@jax")
    found = environment.resolve(wanted, HERE, date(2024, 5, 31))
    assert dated.asked == [datetime(2024, 6, 1, tzinfo=UTC)]
    assert found.as_of == "2024-05-31"
    with pytest.raises(Unmade, match="no jax fits"):
        environment.resolve(wanted, HERE, date(2024, 1, 1))


@pytest.mark.usefixtures("either")
def test_versions_are_listed_one_by_one(index: Path) -> None:
    assert environment.newest("keras", HERE) == "3.1.1"
    assert environment.newest("keras<3.1.1,>=3.0", HERE) == "3.1.0"
    assert environment.newest("keras<3.0.0,>=3.0.0", HERE) is None


# -- making ----------------------------------------------------------------------------------------


def made(word: str) -> environment.Environment:
    return environment.resolve(environment.parse(word), HERE, NOW)


@pytest.mark.usefixtures("either")
def test_an_environment_holds_what_was_resolved_and_is_made_once(index: Path) -> None:
    told: list[str] = []
    environment_ = made("keras==3.1.0,jax")
    python = environment_.make(told.append)
    code = "import keras, jax, sys; print(keras.__version__, sys.prefix != sys.base_prefix)"
    said = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["3.1.0", "True"]
    for each in index.iterdir():
        each.unlink()
    assert made("keras==3.1.0,jax").make(told.append) == python
    assert told == ["installing"]
    (listed,) = environment.cached()
    assert listed.about["packages"] == environment_.pins
    assert listed.about["python"] == HERE.version
    assert listed.size > 1000


@pytest.mark.usefixtures("either")
def test_what_cannot_be_installed_leaves_nothing(index: Path, cache: Path) -> None:
    environment_ = made("keras==3.1.0,jax")
    (index / "numpy-2.0.0-py3-none-any.whl").unlink()
    with pytest.raises(Unmade) as failed:
        environment_.make()
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
        environment_.make()
    assert list((cache / "environments").iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away(index: Path, cache: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folders = cache / "environments"
    left, theirs = folders / f".partial-{dead.pid}-a", folders / f".partial-{os.getppid()}-b"
    left.mkdir(parents=True)
    theirs.mkdir()
    unmarked = folders / made("keras==3.1.0,jax").key  # half-removed, say
    unmarked.mkdir()
    python = made("keras==3.1.0,jax").make()
    assert Path(python).exists()
    assert sorted(each.name for each in folders.iterdir()) == sorted([theirs.name, unmarked.name])


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


@pytest.mark.parametrize("wanted", ["3.1", "3.11.99", "/no/such/python", "three"])
def test_a_python_that_is_not_there_is_refused(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(WordError, match=wanted):
        environment.find_python(wanted)


# -- the cache -------------------------------------------------------------------------------------


def test_the_cache_is_listed_and_cleared(index: Path, cache: Path) -> None:
    made("keras==3.1.0,jax").make()
    (cache / "jax").mkdir()  # what is not ours to clear
    listed = CliRunner().invoke(main, ["cache", "list"])
    assert listed.exit_code == 0
    assert "keras==3.1.0, jax[cpu], packaging" in listed.stdout
    assert "1 environment," in listed.stdout
    cleared = CliRunner().invoke(main, ["cache", "clear"])
    assert cleared.exit_code == 0
    assert cleared.stdout.startswith("removed ")
    assert [each.name for each in cache.iterdir()] == ["jax"]
    assert "0 environments, 0 bytes" in CliRunner().invoke(main, ["cache", "list"]).stdout
