"""Is a layer of one's own that cannot be asked refused at once, with all that it lacks?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnn_check.asking.request import Setting
from rnn_check.asking.run import Target, _check_layers
from rnn_check.cli.commands import main
from rnn_check.subjects import own_layer as layer
from rnn_check.subjects.ask import Subject, SubjectError
from rnn_check.subjects.asked import own as subject
from rnn_check.subjects.plan import Message, step

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


# -- the class, as the framework sees it -----------------------------------------------------------


def lacks(asked: Subject, spec: str, kind: str = "SimpleRNN") -> list[str]:
    message = Message([step("offers", kind=kind)], {"replace": {kind: spec}})
    (answer,) = asked.follow(message).values()
    found = answer["lacks"]
    assert isinstance(found, list)
    return found


def test_the_example_of_the_documents_lacks_nothing(subject: Subject, tmp_path: Path) -> None:
    assert lacks(subject, file_of(tmp_path, EXAMPLE)) == []


def test_a_beginners_layer_is_told_all_that_it_lacks(subject: Subject, tmp_path: Path) -> None:
    found = "\n".join(lacks(subject, file_of(tmp_path, BEGINNERS)))
    for words in (
        "does not take activation='tanh'",
        "does not take return_sequences=True",
        "does not take name='own'",
        "no attribute return_state",
        "no weight 'recurrent_kernel' of shape (2, 2)",
        "no weight 'bias' of shape (2,)",
        "layer(x, initial_state=h) fails",
        "layer(x, mask=m) fails",
    ):
        assert words in found
    assert "layer(x) " not in found  # which works


@pytest.mark.parametrize("kind", subject.STANDS_IN)
def test_keras_own_classes_lack_nothing(subject: Subject, tmp_path: Path, kind: str) -> None:
    text = f"import keras\nclass MyRNN(keras.layers.{kind}): ..."
    assert lacks(subject, file_of(tmp_path, text), kind) == []


@pytest.mark.parametrize(
    ("kind", "other", "words"),
    [
        ("LSTM", "GRU", "constructor does not take unit_forget_bias=False"),
        ("LSTM", "GRU", "no weight 'kernel' of shape (3, 8), but of shape (3, 6)"),
        ("GRU", "LSTM", "no weight 'bias' of shape (2, 6), but of shape (8,)"),
        ("LSTMCell", "SimpleRNNCell", "does not take recurrent_activation='sigmoid'"),
        ("GRUCell", "GRU", "cell(x, states) fails"),
        ("LSTM", "SimpleRNN", "layer(x, initial_state=h) fails"),
    ],
)
def test_a_class_of_another_kind_is_told_what_it_lacks(
    subject: Subject, tmp_path: Path, kind: str, other: str, words: str
) -> None:
    text = f"import keras\nclass MyRNN(keras.layers.{other}): ..."
    folder = tmp_path / kind
    folder.mkdir()
    assert words in "\n".join(lacks(subject, file_of(folder, text), kind))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MyRNN = 5", "it is no class but 5"),
        ("class MyRNN:\n  def __init__(self, units): raise OSError('no')", "OSError: no"),
        ("import no_such_module\nMyRNN = no_such_module.RNN", "cannot be imported: Module"),
    ],
)
def test_a_layer_that_cannot_be_asked_is_one_error(
    subject: Subject, text: str, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / re.sub(r"\W", "", words)
    folder.mkdir()
    target = Target("tensorflow", (Setting(layer=file_of(folder, text)),))
    with pytest.raises(SubjectError, match=re.escape(words)):
        _check_layers(subject, target)


def test_the_documents_name_what_is_asked_for() -> None:
    for kind in subject.STANDS_IN:
        for name in names(kind):
            assert f"`{name}" in DOCUMENT


def test_the_example_is_short() -> None:
    lines = [line for line in EXAMPLE.splitlines() if line.strip()]
    assert len(lines) <= 15
