"""Is no honest model called wrong whose numbers overflow, or are lost, on their way?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rnn_check.asking.request import Setting
from rnn_check.asking.run import Target
from rnn_check.sweep import work
from rnn_check.sweep.space import FAMILY, Case, Space
from rnn_check.sweep.work import Sought
from tests.support.sampling import long

SPACE = Space.within(["scale=huge"])


@pytest.fixture(scope="module")
def sought(request: pytest.FixtureRequest) -> Iterator[Sought]:
    backend = request.config.getoption("--backend")
    yield Sought(backend, Target.named(backend, Setting()), Setting())
    work.close()


# of those with Masking, one update and subnormal biases, which found that some were
@long
@pytest.mark.parametrize("family", [1, 2, 5, 6, 9])
def test_no_extreme_model_is_called_wrong_but_for_what_is_known(
    sought: Sought, family: int
) -> None:
    found = work.outcomes([Case(2, FAMILY * family + i) for i in range(FAMILY)], SPACE, sought)
    assert [f"{o.index}: {o.detail}" for o in found if o.is_found] == []
