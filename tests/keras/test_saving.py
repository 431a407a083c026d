"""Is what goes wrong around a layer seen: in files, copies, other models, seeds?

The faults are classes with one mistake each, asked in place of Keras's.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import carried
from rnn_check.refusal import ClaimError
from rnn_check.subjects.ask import Subject
from rnn_check.subjects.policy import Policy
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN
from tests.support import bundled, planted

FAULTS = planted.found(
    planted.FOLDER / "saving_faults.py",
    *("keras.layers.SimpleRNN", "keras.optimizers.SGD", "keras.optimizers.Adam"),
)
# in place of which class, and what turns red
PLANTED = {
    "the bias is not saved": ("SimpleRNN", "round_trip", "keras"),
    "a layer that is called again computes something else": ("SimpleRNN", "composed", "twice"),
    "of every other call no gradient reaches the kernel": (*("SimpleRNN", "composed", "twice"),),
    "the kernel is drawn of no seed": ("SimpleRNN", "seeded", "weights"),
    "what is dropped is drawn of no seed": ("SimpleRNN", "seeded", "dropout"),
    "inside a graph it computes something else": ("SimpleRNN", "exported", ""),
    "the optimizer's momentum is not saved": ("SGD", "resumed", "keras"),
    "the optimizer's iterations are not saved": ("Adam", "resumed", "keras"),
}
TEXT = """
schema = 1
title  = "what is around a layer"

[source]
document = "a test"

[layer]
kind  = "SimpleRNN"
units = 2
{options}
[weights]
kernel           = [[0.5, -0.75], [-0.375, 0.625]]
recurrent_kernel = [[0.25, -0.5], [0.625, 0.125]]
bias             = [0.125, -0.25]

[input]
x = [[[0.5, -1.0], [1.25, 0.75], [-0.5, 0.25]], [[-1.0, 0.5], [0.25, -2.0], [1.5, 1.0]]]

[loss]
kind   = "mse"
target = [[1.0, -0.5], [0.25, 0.75]]

[training]
optimizer     = "{optimizer}"
learning_rate = 0.125
epochs        = 2
{momentum}
[[expect]]
what  = "{what}"
value = true
from  = "Keras"
{of}
"""


def around(kind: str, what: str, of: str) -> Claim:
    return files.loads(
        TEXT.format(
            what=what,
            of=f'of = "{of}"' if of else "",
            optimizer="SGD" if kind == "SimpleRNN" else kind,
            momentum="momentum = 0.75" if kind != "Adam" else "",
            options="dropout = 0.5" if of == "dropout" else "",
        )
    )


def verdict(c: Claim, subject: Subject, **replace: str) -> judge.Verdict:
    request = asking_request.request(c, asking_request.asks(c), asking_request.Setting())
    if replace:
        request["replace"] = replace
    (found,) = judge.judge(c, asking_request.Answer(plans.ask(subject, request)[1]))
    if found.verdict == NOT_RUN:
        pytest.skip(found.detail)
    return found


@pytest.mark.thinned(12)
@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_around_a_layer_turns_its_claim_red(fault: str, subject: Subject) -> None:
    kind, what, of = PLANTED[fault]
    c = around(kind, what, of)
    found = verdict(c, subject, **{kind: FAULTS[fault]})
    assert found.verdict == DIFFER, found.detail
    found = verdict(c, subject)
    assert found.verdict == AGREE, found.detail


def changed(which: str) -> Callable[[np.ndarray, str], np.ndarray | None]:
    """What becomes of an array in a file of weights, where anything does."""

    def one_weight(array: Any, name: str) -> Any:
        if array.shape == (2,):
            return np.nextafter(array, np.float32(1))
        return None

    def permuted(array: Any, name: str) -> Any:
        return array[::-1] if "optimizer" not in name and array.shape == (2, 2) else None

    def momentum(array: Any, name: str) -> Any:
        return 0 * array if "optimizer" in name and array.ndim == 2 else None

    def iterations(array: Any, name: str) -> Any:
        return array + 1 if "optimizer" in name and array.dtype.kind == "i" else None

    return {each.__name__: each for each in (one_weight, permuted, momentum, iterations)}[which]


# in the file of which claim, and what is then said
CARRIED = {
    ("one_weight", "round_trip", "weights"): "bias of simple_rnn in the file",
    ("one_weight", "round_trip", "keras"): "bias of simple_rnn in the file",
    ("permuted", "round_trip", "keras"): "kernel of simple_rnn in the file",
    ("permuted", "round_trip", "h5"): "kernel of simple_rnn in the file",
    ("one_weight", "resumed", "keras"): "bias of simple_rnn",
    ("momentum", "resumed", "keras"): "m of kernel of simple_rnn",
    ("iterations", "resumed", "keras"): "iterations",
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("which", "what", "of"), CARRIED)
def test_a_file_in_which_a_number_is_another_is_red_for_who_reads_it(
    which: str, what: str, of: str, subject: Subject
) -> None:
    c, said = written(subject, around("SimpleRNN", what, of))
    assert read_by(subject, c, said).verdict == AGREE
    with_fault = in_file(said["file"].tobytes(), changed(which))
    found = read_by(subject, c, {**said, "file": np.frombuffer(with_fault, np.uint8)})
    assert found.verdict == DIFFER, found.detail
    assert CARRIED[which, what, of] in found.detail


def test_what_a_saved_model_computes_is_judged_by_who_reads_it(subject: Subject) -> None:
    c = around("SimpleRNN", "exported", "")
    fault = FAULTS["inside a graph it computes something else"]
    found = read_by(subject, *written(subject, c, SimpleRNN=fault))
    assert found.verdict == DIFFER, found.detail
    assert read_by(subject, *written(subject, c)).verdict == AGREE


def written(subject: Subject, c: Claim, **replace: str) -> tuple[Claim, dict[str, Any]]:
    writes = carried.writing(c)
    assert writes is not None
    request = asking_request.request(writes, ["written"], asking_request.Setting())
    said = plans.ask(subject, {**request, "replace": replace} if replace else request)[1]
    if "unsupported" in said["written"]:
        pytest.skip(said["written"]["unsupported"])
    return writes, said["written"]


def read_by(subject: Subject, c: Claim, said: dict[str, Any]) -> judge.Verdict:
    reads = carried.reading(c, said, promised=True)
    answer = asking_request.ask(reads, subject, asking_request.Setting())
    (found,) = judge.judge(reads, answer)
    return found


def in_file(data: bytes, change: Callable[[Any, str], Any]) -> bytes:
    """The same file, of whose arrays some are changed."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as before:
            content = {name: before.read(name) for name in before.namelist()}
        content["model.weights.h5"] = in_file(content["model.weights.h5"], change)
        return zipped(content)
    opened = io.BytesIO(data)
    with h5py.File(opened, "r+") as file:

        def at(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and node.size:
                now = change(node[()], name)
                if now is not None:
                    node[...] = now

        file.visititems(at)
    return opened.getvalue()


def zipped(content: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as after:
        for name, part in content.items():
            after.writestr(name, part)
    return written.getvalue()


WRITTEN = bundled.in_file(files.bundled() / "options" / "files" / "keras_3_0.toml")[0]


def read(subject: Subject, change: tuple[bytes, bytes]) -> judge.Verdict:
    """The bundled file, in whose configuration something else stands."""
    told = asking_request.request(WRITTEN, ["file"], asking_request.Setting())
    with zipfile.ZipFile(io.BytesIO(told["file"]["data"].tobytes())) as before:
        content = {name: before.read(name) for name in before.namelist()}
    content["config.json"] = content["config.json"].replace(*change)
    told["file"] |= {"data": np.frombuffer(zipped(content), np.uint8)}
    (found,) = judge.judge(WRITTEN, asking_request.Answer(plans.ask(subject, told)[1]))
    return found


@pytest.mark.parametrize(
    ("change", "verdict", "says"),
    [
        ((b"tanh", b"tanh"), AGREE, ""),
        ((b'"Masking"', b'"Lambda"'), ERROR, "names keras: 'Lambda', which no claim may name"),
        ((b'"keras.layers"', b'"os"'), ERROR, "names os: 'InputLayer', which no claim may name"),
        ((b'"activation": "tanh"', b'"activation": "relu"'), DIFFER, "output of what was read"),
    ],
)
def test_a_file_is_read_for_what_it_says_and_for_nothing_else(
    change: tuple[bytes, bytes], verdict: str, says: str, subject: Subject
) -> None:
    found = read(subject, change)
    assert found.verdict == verdict, found.detail
    assert says in found.detail


def test_a_whole_file_is_judged_in_the_precision_that_it_was_saved_in() -> None:
    for c in bundled.in_file(files.bundled() / "options" / "files" / "keras_3_0.toml"):
        (e,) = c.expectations
        said = e.unjudged_in(Policy("float64"))
        assert bool(said) == e.of.endswith(".keras")
        assert not e.unjudged_in(Policy("float32"))


@pytest.mark.parametrize(
    ("of", "problem"),
    [
        ("model.pkl", "expected the name of a file beside this one, got 'model.pkl'"),
        ("../model.h5", "expected the name of a file beside this one, got '../model.h5'"),
        ("model.keras", "there is no file model.keras beside the claim"),
        ("linked.h5", "linked.h5 is a link; a file stands beside the claim itself"),
        ("large.h5", "large.h5 is larger than 1,000,000 bytes"),
    ],
)
def test_a_file_that_is_not_to_be_carried_is_refused(of: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "large.h5").write_bytes(bytes(1_000_001))
    (tmp_path / "linked.h5").symlink_to("large.h5")
    text = TEXT.format(what="file", of=f'of = "{of}"', optimizer="SGD", momentum="", options="")
    with pytest.raises(ClaimError, match=re.escape(problem)) as refused:
        files.loads(text, tmp_path / "claim.toml")
    assert refused.value.key == "expect[0].of"


def test_every_fault_around_a_layer_is_planted() -> None:
    assert FAULTS.keys() == PLANTED.keys()
