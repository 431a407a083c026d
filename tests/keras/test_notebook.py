"""Are claims judged from a notebook as they are by the command?"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import rnn_check
from rnn_check import verify
from rnn_check.refusal import Refused
from rnn_check.subjects import ask as observe
from tests.support.sampling import long

EXAMPLE = Path(rnn_check.__file__).parent / "claims" / "example.claim.toml"


@long  # two starts of a framework
def test_a_run_is_a_table_and_what_differs_a_picture(subject: observe.Subject) -> None:
    backend, text = subject.identity.backend, EXAMPLE.read_text()
    found = verify(EXAMPLE, backend=backend)
    assert found.ok and str(found) == "Everything agrees."
    shown = ElementTree.fromstring(found._repr_html_())
    assert len(list(shown.iter("tr"))) == 1 + len(found.verdicts)
    assert not list(shown.iter("svg"))
    wrong = verify(text.replace("17, -3", "17, -2"), backend=backend)
    assert not wrong.ok
    shown = ElementTree.fromstring(wrong._repr_html_())
    said = " ".join(shown.itertext())
    assert "the claim's own number does not hold" in said and "rerun" not in said
    (picture,) = shown.iter("svg")
    assert "The first beyond its bound is at timestep 2." in str(picture.get("aria-label"))


def test_what_cannot_be_asked_is_refused() -> None:
    for given, message in (
        ({"backend": "tensorfow"}, "backend: unknown 'tensorfow'; did you mean `tensorflow`"),
        ({"backend": "numpy", "mode": "xla"}, "mode: numpy has no mode 'xla', only eager"),
        ({"backend": "numpy", "dtype": "float8"}, "dtype: unknown 'float8'"),
    ):
        with pytest.raises(ValueError, match=message):
            verify(EXAMPLE, **given)
    with pytest.raises(ValueError, match="no claims are given"):
        verify(backend="numpy")
    with pytest.raises(Refused, match=r"absent\.toml"):
        verify("absent.toml", backend="numpy")
    with pytest.raises(Refused, match="schema"):
        verify("schema = 7\n", backend="numpy")
