"""Does `compare` show the regressions that Keras and TensorFlow really had?

Each is asked of the two releases between which it came or went, in environments that are made for
it. That needs a package index and a minute or two, so it is done with `pytest --upgrades` alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from packaging.version import Version

from rnn_check.cli.commands import main

FIXTURES = Path(__file__).parents[2] / "fixtures"

pytestmark = pytest.mark.upgrades

# claim, where it is wrong, where it is right
REGRESSIONS = {
    "seeds ignored": (
        "options/configuration/seeded_initializers",
        "keras==3.1.1@numpy",
        "keras==3.2.0@numpy",
    ),
    "recurrent dropout ignored": (
        *("options/dropout/recurrent", "keras==3.1.1@numpy", "keras==3.2.0@numpy"),
    ),
    "activity loss of LSTM": ("options/gates/lstm", "keras==3.13.2@numpy", "keras==3.14.0@numpy"),
    "smaller batch taken": (
        "options/stateful/smaller_batch",
        "keras==3.11.3@numpy",
        "keras==3.12.0@numpy",
    ),
    "Bidirectional not loaded": (
        *("options/saving/bidirectional", "keras==3.2.1@numpy", "keras==3.3.3@numpy"),
    ),
    "mask of stacked cells": ("options/cells/stacked", "keras==3.9.2@numpy", "keras==3.10.0@numpy"),
    "carried state of GRU dropped": (
        *("options/dropout/gates_recurrent[kind=GRU]", "keras==3.7.0@numpy", "keras==3.8.0@numpy"),
    ),
    "one recurrent mask for all gates of LSTM": (
        *("options/dropout/gates_recurrent[kind=LSTM]", "keras==3.7.0@numpy", "keras==3.8.0@numpy"),
    ),
    "LSTM trained where it is not trainable": (
        *("options/training/frozen_lstm", "keras==3.1.1@numpy", "keras==3.2.0@numpy"),
    ),
    "Bidirectional LSTM not loaded": (
        *("options/saving/bidirectional_lstm", "keras==3.2.1@numpy", "keras==3.3.3@numpy"),
    ),
    "states of stacked LSTM cells": (
        *("options/cells/stacked_lstm", "keras==3.2.1@numpy", "keras==3.3.3@numpy"),
    ),
    "mask of stacked GRU cells": (
        *("options/cells/stacked_gru", "keras==3.9.2@numpy", "keras==3.10.0@numpy"),
    ),
    "one sample taken by a GRU of two": (
        *("options/stateful/smaller_batch_gru", "keras==3.11.3@numpy", "keras==3.12.0@numpy"),
    ),
    "activity loss of GRU": ("options/gates/gru", "keras==3.13.2@numpy", "keras==3.14.0@numpy"),
    # between Keras 2 and 3
    "carried state of GRU dropped, as Keras 2 did not": (
        *("options/dropout/gates_recurrent[kind=GRU]", "tensorflow==2.16.2", "tensorflow==2.12.*"),
    ),
    "one recurrent mask for all gates, of which Keras 2 had one each": (
        *("options/dropout/gates_recurrent[kind=LSTM]", "tensorflow==2.16.2", "tensorflow==2.12.*"),
    ),
    "hard_sigmoid of gates, 0.2z + 0.5 in Keras 2": (
        "options/activations/lstm[activation=tanh, recurrent_activation=hard_sigmoid]",
        *("tensorflow==2.15.1", "tensorflow==2.16.2"),
    ),
    "other inputs dropped at each timestep": (
        *("options/dropout/gates_timesteps", "tensorflow==2.12.*", "tensorflow==2.16.2"),
    ),
    "implementation of gates forgotten": (
        *("options/configuration/implementation", "tensorflow==2.16.2", "tensorflow==2.15.1"),
    ),
    "mask beside an LSTM's initial state": (
        *("options/masks/masking_initial_state_lstm", "tensorflow==2.16.2", "tensorflow==2.15.1"),
    ),
    "states of stacked LSTM cells not reset": (
        *("options/stateful/stacked_cells_lstm", "tensorflow==2.16.2", "tensorflow==2.15.1"),
    ),
    "a mask of each gate, without recurrent dropout": (
        *("options/dropout/gates_apart", "tensorflow==2.21.0", "tensorflow==2.15.1"),
    ),
    "HDF5 of a model compiled with mse": (
        *("options/saving/resumed_h5", "tensorflow==2.16.1", "tensorflow==2.15.1"),
    ),
    "HDF5 of a functional model with a mask": (
        *("options/saving/masking[of=h5]", "tensorflow==2.16.1", "tensorflow==2.15.1"),
    ),
    "files of Keras 2 not read": (
        *("options/files/keras_2_15", "tensorflow==2.16.1", "tensorflow==2.15.1"),
    ),
    "mask of a call not handed on": (
        *("options/stacks/gradients", "tensorflow==2.16.2", "tensorflow==2.15.1"),
    ),
    "mask of a call handed on again": (
        *("options/stacks/gradients", "tensorflow==2.16.2", "tensorflow==2.21.0"),
    ),
}


def compare(subjects: Sequence[str], claims: Iterable[str]) -> dict[str, Any]:
    files = sorted({str(FIXTURES / f"{claim.partition('[')[0]}.toml") for claim in claims})
    chosen = [word for file in files for word in ("--claims", file)]
    result = CliRunner().invoke(main, ["compare", *subjects, *chosen, "--json"])
    assert result.exit_code in (0, 1), result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return {**document, "exit_code": result.exit_code}


def family(name: str) -> str:
    return REGRESSIONS[name][1].partition("==")[0]


@pytest.fixture(scope="module")
def asked() -> Callable[[str], tuple[list[str], list[dict[str, Any]]]]:
    """Of Keras, or of TensorFlow: each release, in their order, asked once for all the claims."""

    @functools.cache
    def of(distribution: str) -> tuple[list[str], list[dict[str, Any]]]:
        ours = [REGRESSIONS[name] for name in REGRESSIONS if family(name) == distribution]
        releases = sorted({release for _, *ends in ours for release in ends}, key=number)
        return releases, compare(releases, (claim for claim, *_ in ours))["rows"]

    return of


def number(release: str) -> Version:
    return Version(release.partition("==")[2].partition("@")[0].removesuffix(".*"))


@pytest.mark.parametrize("name", REGRESSIONS)
def test_a_regression_is_shown_where_it_came_and_went(
    name: str, asked: Callable[[str], tuple[list[str], list[dict[str, Any]]]]
) -> None:
    claim, *ends = REGRESSIONS[name]
    releases, rows = asked(family(name))
    at = [releases.index(release) for release in ends]
    of_claim = [row for row in rows if f"{row['claim']}[".startswith(f"{claim}[")]
    of_claim = of_claim or [row for row in rows if row["claim"] == claim]
    verdicts = {tuple(row["verdicts"][end] for end in at) for row in of_claim}
    assert verdicts & {("differ", "agree"), ("error", "agree")}
    assert ("agree", "differ") not in verdicts


def test_what_got_worse_and_what_got_better_is_told_apart() -> None:
    claim, wrong, right = REGRESSIONS["seeds ignored"]
    mended = compare([wrong, right], [claim])
    assert mended["exit_code"] == 0
    assert mended["summary"]["better"] > 0
    assert mended["summary"]["worse"] == 0
    broken = compare([right, wrong], [claim])
    assert broken["exit_code"] == 1
    assert broken["summary"]["worse"] == mended["summary"]["better"]
    assert broken["summary"]["better"] == 0


def test_the_last_bits_of_tanh_changed_in_tensorflow_2_20() -> None:
    found = compare(["tensorflow==2.19.1", "tensorflow==2.20.0"], ["derived/tanh_layer"])
    assert found["exit_code"] == 0
    assert {tuple(row["verdicts"]) for row in found["rows"]} == {("agree", "agree")}
    (output,) = (row for row in found["rows"] if row["what"] == "output")
    assert output["changes"] == ["", "drift"]
    assert output["drift_ulp"] >= 1
    assert 0 < output["shares"][1] < 1


def test_files_are_carried_from_one_release_to_the_other() -> None:
    """Weights and a SavedModel are read across Keras 2 and 3, whole models are not."""
    names = ("masking", "lstm", "exported")
    found = compare(
        ["tensorflow==2.15.1", "tensorflow==2.16.2"], (f"options/saving/{name}" for name in names)
    )
    assert found["exit_code"] == 1
    rows = {(r["claim"], r["what"]): r for r in found["rows"] if "Keras 2.15" in (r["way"] or "")}
    for (claim, what), row in rows.items():
        read = what in ("file of model.weights.h5", "file of SavedModel")
        assert row["changes"] == ["", "" if read else "worse"], claim
        assert bool(row["known"][1]) is not read
    whats = {what for _, what in rows}
    assert whats == {
        *("file of model.keras", "file of model.h5", "file of model.weights.h5"),
        "file of SavedModel",
    }
    back = [r for r in found["rows"] if "Keras 3" in (r["way"] or "")]
    assert {"other"} <= {kind for r in back for kind in r["changes"]} <= {"", "other", "said"}
