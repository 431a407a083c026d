"""Does a claim that is written of a live model say what the model is, and does it hold?"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rnn_check.asking import live, request
from rnn_check.claims import files, toml
from rnn_check.claims.claim import Claim
from rnn_check.cli.commands import main
from rnn_check.subjects import ask as observe
from rnn_check.verdicts.judge import AGREE, judge
from tests.support.sampling import thinned

MODELS = """
import tempfile
import keras
from keras import layers

def sequential(*inside, shape=(None, 3)):
    return keras.Sequential([keras.Input(shape), *inside])

def two_directions():
    both = layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode="sum")
    return sequential(both, layers.GRU(2, name="last"), layers.Dense(1, activation="sigmoid"))

def saved():
    path = tempfile.mkdtemp() + "/model.keras"
    two_directions().save(path)
    return keras.models.load_model(path)

def cells():
    made = layers.RNN([layers.LSTMCell(2), layers.GRUCell(1)], return_sequences=True)
    made.build((None, None, 3))
    return made

def functional():
    x = keras.Input((5, 2))
    steps = layers.SimpleRNN(3, activation="relu", return_sequences=True)(layers.Masking()(x))
    return keras.Model(x, layers.TimeDistributed(layers.Dense(2))(steps))

def words():
    return sequential(layers.Embedding(7, 2), layers.GRU(2, reset_after=False), shape=(4,))

def branched():
    x = keras.Input((4, 2))
    one, other = layers.LSTM(2, name="one")(x), layers.LSTM(2, name="other")(x)
    return keras.Model(x, layers.add([one, other]))

def unbuilt():
    return layers.LSTM(2)

def normalized():
    return sequential(layers.LayerNormalization(), layers.LSTM(2))

class MyCell(layers.SimpleRNNCell):
    pass

def own_cell():
    made = layers.RNN(MyCell(2))
    made.build((None, None, 3))
    return made

def apart():
    x = keras.Input((4, 2))
    before = layers.LSTM(2, return_sequences=True)(x)
    both = layers.Bidirectional(layers.GRU(1, return_sequences=True), merge_mode=None, name="both")
    return keras.Model(x, both(before))

def rejoined():
    x = keras.Input((4, 2))
    both = layers.Bidirectional(layers.GRU(1, return_sequences=True), merge_mode=None, name="both")
    one, other = both(x)
    return keras.Model(x, layers.LSTM(2, name="after")(other))

def exchanged():
    x = keras.Input((4, 2))
    both = layers.Bidirectional(layers.GRU(1), merge_mode=None, name="both")
    return keras.Model(x, list(both(x))[::-1])

def uneven():
    backward = layers.LSTM(2, activation="relu", go_backwards=True)
    return sequential(layers.Bidirectional(layers.LSTM(2), backward_layer=backward))

def turned():
    forward = layers.LSTM(2, go_backwards=True)
    return sequential(layers.Bidirectional(forward, backward_layer=layers.LSTM(2)))

class Lazy:
    pass
"""
WHOLE = ("saved", "cells", "two_directions", "words", "functional", "apart", "uneven")


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MODELS)
    return str(tmp_path / "mine.py")


def judged(claim: Claim, subject: observe.Subject) -> list[str]:
    answer = request.ask(claim, subject, request.Setting())
    return [v.verdict for v in judge(claim, answer)]


@thinned(2)
@pytest.mark.parametrize("name", WHOLE)
def test_the_claim_of_a_model_holds_and_has_its_weights(
    name: str, file: str, subject: observe.Subject
) -> None:
    found = live.described(f"{file}:{name}", subject)
    claim = files.loads(live.checked(found, found.claim(), Path("claim.toml")))
    assert judged(claim, subject) == [AGREE] * 3
    assert claim.weights is not None
    for layer, table in found.weights.items():
        for path, array in table.items():
            assert (claim.weights[layer][path].value == array).all()
    spoilt = found.claim().replace("[[expect]]", "notes_ = 1\n[[expect]]", 1)
    with pytest.raises(live.Unclaimable, match="no claim can be made of it"):
        live.checked(found, spoilt, Path("claim.toml"))


def test_a_weight_that_is_another_turns_it_red(file: str, subject: observe.Subject) -> None:
    found = live.described(f"{file}:cells", subject)
    kernel = found.weights[found.layers[0]["name"]]["cell_0.kernel"]
    text = found.claim().replace(toml.written(kernel), toml.written(kernel * np.float32(1.01)))
    assert judged(files.loads(text), subject) == [AGREE, AGREE, "differ"]


def test_one_layer_of_a_model_and_ones_own_input(file: str, subject: observe.Subject) -> None:
    x = np.full((1, 2, 2), 0.1)
    found = live.described(f"{file}:branched", subject, "other", x)
    claim = files.loads(found.claim())
    assert [layer.name for layer in claim.layers] == ["other"]
    assert claim.x is not None and (claim.x.value == x).all()
    assert judged(claim, subject) == [AGREE] * 3


@thinned(3)
@pytest.mark.parametrize(
    ("name", "only", "reason"),
    [
        ("branched", "", "do not stand one after the other.*--only takes one of them: one, other"),
        ("rejoined", "", "do not stand one after the other.*--only takes one of them: both, after"),
        ("exchanged", "", "do not stand one after the other.*--only takes one of them: both"),
        ("branched", "third", "it has no layer third; it has one, other, add"),
        ("unbuilt", "", "is not built yet"),
        ("normalized", "", "is a LayerNormalization, and a claim has no such layer"),
        ("own_cell", "", "is a MyCell, and a claim has no such layer"),
        ("turned", "", "the forward direction of .* reads backwards"),
        ("Lazy", "", "it is a Lazy, no layer and no model of Keras"),
        ("absent", "", "AttributeError"),
    ],
)
def test_what_no_claim_can_say_is_refused_in_one_message(
    name: str, only: str, reason: str, file: str, subject: observe.Subject
) -> None:
    with pytest.raises(live.Unclaimable, match=reason):
        live.described(f"{file}:{name}", subject, only)


def test_the_example_holds_as_it_is(subject: observe.Subject) -> None:
    result = CliRunner().invoke(main, ["new", "--from-example"])
    assert result.exit_code == 0
    claim = files.loads(result.stdout)
    assert judged(claim, subject) == [AGREE] * 4
    assert judged(files.loads(result.stdout.replace("17, -3", "17, -2")), subject) == [
        "differ", *[AGREE] * 3,
    ]  # fmt: skip


def test_large_arrays_stand_beside_the_claim(
    file: str, subject: observe.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Held:
        def __enter__(self) -> observe.Subject:
            return subject

        def __exit__(self, *_: Any) -> None: ...

    monkeypatch.setattr(observe, "Subject", lambda *_, **__: Held())
    (tmp_path / "large.py").write_text(
        "import keras\ndef made():\n    layer = keras.layers.LSTM(80)\n"
        "    layer.build((None, None, 80))\n    return layer\n"
    )
    what, claim = f"{tmp_path / 'large.py'}:made", tmp_path / "large.claim.toml"
    result = CliRunner().invoke(main, ["new", what])
    assert result.exit_code == 2
    assert "too large for one file; -o puts them beside it" in result.stderr
    result = CliRunner().invoke(main, ["new", what, "-o", str(claim)])
    assert result.exit_code == 0, result.stderr
    assert judged(files.load(claim), subject) == [AGREE] * 3
    result = CliRunner().invoke(main, ["new", what, "-o", str(claim)])
    assert result.exit_code == 2 and "--force overwrites it" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a layer or model of yours, or --from-example"),
        (["a.keras", "--from-example"], "give either"),
        (["--from-example", "--only", "a"], "--only does not go with --from-example"),
        (["--from-example", "-o", "claim.json"], "a claim file's name ends in .toml"),
        (["absent.keras"], "absent.keras: no such file"),
        (["no.keras"], "no.keras: no model that Keras saved: such a file is a zip archive"),
        (["absent.py:model"], "absent.py: no such file"),
        (["model"], "expected FILE.keras, FILE.h5, FILE.py:NAME or MODULE:NAME"),
        (["a:b", "--input", "absent.npy"], "--input: absent.npy: no array of numpy.save"),
    ],
)
def test_wrong_usage_is_one_message(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("no.keras").write_bytes(b"no archive")
    result = CliRunner().invoke(main, ["new", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(max_dims=3, max_side=4),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_numbers_are_written_bit_for_bit(array: Any) -> None:
    read = np.array(_floats(tomllib.loads(f"a = {toml.written(array)}")["a"]))
    assert read.shape == array.shape
    assert (read == array).all() and (np.signbit(read) == np.signbit(array)).all()


def _floats(node: Any) -> Any:
    if isinstance(node, list):
        return [_floats(each) for each in node]
    return float.fromhex(node) if isinstance(node, str) else float(node)
