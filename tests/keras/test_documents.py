"""Do the documents say what is true of the Keras that is installed?"""

from __future__ import annotations

from pathlib import Path

import pytest

from rnn_check.asking import request
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from tests.support.sampling import thinned
from tests.test_readme import DOCS, EXAMPLES, completed, fenced, load


@thinned(9)
@pytest.mark.parametrize("example", EXAMPLES, ids=range(1, len(EXAMPLES) + 1))
def test_every_example_holds(example: str, tmp_path: Path, subject: Subject) -> None:
    c = load(completed(example), tmp_path)[0]
    if "written.weights.h5" in example:
        _write(tmp_path / "written.weights.h5", c)
    answer = request.ask(c, subject, request.Setting(slow=True))
    for e, verdict in zip(c.expectations, judge.judge(c, answer), strict=True):
        wanted = {judge.NOT_RUN} if e.not_run else {judge.AGREE}
        wanted |= {judge.NOT_RUN} if verdict.unsupported else set()
        assert verdict.verdict in ({judge.DIFFER} if e.known_to_differ else wanted), verdict.detail


def _write(file: Path, claim: Claim) -> None:
    """The claim's weights as Keras 3 writes them."""
    import h5py

    assert claim.weights is not None
    (given,) = claim.weights.values()
    with h5py.File(file, "w") as written:
        cell = written.create_group("layers/simple_rnn/cell/vars")
        for number, name in enumerate(("kernel", "recurrent_kernel", "bias")):
            cell[str(number)] = given[name].value.astype("float32")


def test_the_document_on_gates_is_right_about_keras() -> None:
    exec(fenced(DOCS["docs/certify.md"], "python")[1], {})
