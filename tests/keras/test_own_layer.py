"""Is a layer of one's own asked what only its class can tell, and all that it lacks told?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rnn_check.asking.request import Setting
from rnn_check.asking.run import Target, _check_layers
from rnn_check.subjects.ask import Subject, SubjectError
from rnn_check.subjects.asked import own
from rnn_check.subjects.plan import Message, step
from tests.subjects.test_own_layer import BEGINNERS, EXAMPLE, file_of


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


@pytest.mark.parametrize("kind", own.STANDS_IN)
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
