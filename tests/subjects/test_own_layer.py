"""Is a layer of one's own that cannot be asked refused at once, with all that it lacks?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnn_check.cli.commands import main
from rnn_check.subjects import own_layer as layer
from rnn_check.subjects.asked import own as subject

DOCUMENT = (Path(__file__).parents[2] / "docs" / "own_layer.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)

BEGINNERS = """
import keras

class MyRNN(keras.layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x):
        return keras.ops.tanh(x[:, -1] @ self.w)
"""


def names(kind: str) -> list[str]:
    return [name for part in subject.needs(kind) for name in part]


def file_of(folder: Path, text: str) -> str:
    file = folder / "my_layer.py"
    file.write_text(text)
    return f"{file}:MyRNN"


# -- the file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        BEGINNERS,
        "from elsewhere import MyRNN",
        "from elsewhere import *",
        "def __getattr__(name): return make(name)",
        "import elsewhere\nMyRNN = elsewhere.make()",
        "try:\n  class MyRNN(Base): ...\nexcept ImportError: pass",
        "class MyRNN(metaclass=Meta): ...",
        "@registered\nclass MyRNN: ...",
    ],
)
def test_what_may_be_a_layer_passes(text: str, tmp_path: Path) -> None:
    spec = file_of(tmp_path, text)
    assert layer.checked(spec) == f"{(tmp_path / 'my_layer.py').resolve()}:MyRNN"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class MyRNN(: pass", ", line 1: no Python: "),
        ("class MyRNN:\n\n  def call(:\n", ", line 3: no Python: "),
        ("class MyRnn(Base): pass", "defines no MyRNN; did you mean `MyRnn`?"),
        ("x = 1", "defines no MyRNN; known: x"),
        ("class A:\n  def __getattr__(self, name): ...", "defines no MyRNN"),
        ("class A(B): pass", "defines no MyRNN; known: A"),
        ("x = '\0'", "no Python"),
        ("(" * 5000, "no Python"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_message(text: str, words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--layer", file_of(tmp_path, text)])
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_a_class_without_a_base_is_told_all_that_it_lacks(tmp_path: Path) -> None:
    text = "class MyRNN:\n  def __init__(self, units): self.units = units\n  def call(self, x): ..."
    with pytest.raises(layer.LayerError) as raised:
        layer.checked(file_of(tmp_path, text))
    message = str(raised.value)
    for name in names("SimpleRNN"):
        assert name in message or name == "units"
    assert "docs/own_layer.md" in message
    everything = "".join(f"  def {m}(self): ...\n" for m in subject.METHODS)
    everything += "  def __init__(self, **options):\n"
    everything += "".join(f"    self.{a} = 1\n" for a in (*subject.ATTRIBUTES, "units"))
    with pytest.raises(layer.LayerError) as raised:
        layer.checked(file_of(tmp_path, f"class MyRNN:\n{everything}"))
    assert str(raised.value).count("\n") == 1  # only that it inherits from nothing


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("my_layer.py", "expected FILE.py:CLASS, got 'my_layer.py'"),
        ("my_layer.py:My RNN", "expected FILE.py:CLASS"),
        ("LSTM=my_layer.py", "expected FILE.py:CLASS, got 'my_layer.py'"),
        ("LTSM=my_layer.py:MyRNN", "unknown class 'LTSM'; did you mean `LSTM`?"),
        ("Dense=my_layer.py:MyRNN", "unknown class 'Dense'; known: GRU, GRUCell, LSTM"),
        ("absent.py:MyRNN", "no such file: absent.py"),
        ("/dev/null:MyRNN", "no such file: /dev/null"),
    ],
)
def test_what_is_no_file_of_a_class_is_refused(spec: str, words: str) -> None:
    with pytest.raises(layer.LayerError, match=re.escape(words)):
        layer.checked(spec)


def test_the_documents_name_what_is_asked_for() -> None:
    for kind in subject.STANDS_IN:
        for name in names(kind):
            assert f"`{name}" in DOCUMENT


def test_the_example_is_short() -> None:
    lines = [line for line in EXAMPLE.splitlines() if line.strip()]
    assert len(lines) <= 15
