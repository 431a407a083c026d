"""Does a notebook show what was found, whatever was found and whoever said it?"""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from rnn_check import Certificate, certify, certify_gradients
from rnn_check.reports import notebook
from tests.support.sampling import thinned

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&\"'"


def layer() -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(0)
    x, W, U = rng.normal(size=(2, 12, 3)), rng.normal(size=(3, 4)), rng.normal(size=(4, 4)) / 2
    h, states = np.zeros((2, 4)), []
    for t in range(12):
        h = np.tanh(x[:, t] @ W + h @ U)
        states.append(h)
    return np.stack(states, 1), {"x": x, "kernel": W, "recurrent_kernel": U}


def parsed(html: str | None) -> ElementTree.Element:
    """The HTML, which is well-formed, and stands by itself."""
    assert html is not None
    for forbidden in ("<script", "var(--", "<style", "<link", "http://", "@import"):
        assert forbidden not in html
    return ElementTree.fromstring(html)


def text_of(html: str | None) -> str:
    return " ".join(" ".join(parsed(html).itertext()).split())


def test_what_is_proved_is_shown_with_its_picture() -> None:
    states, given = layer()
    html = certify(states, **given)._repr_html_()
    assert "proved in float64: every element follows" in text_of(html)
    (picture,) = parsed(html).iter("svg")
    assert picture.get("aria-label") == "Error against timestep."


def test_what_is_wrong_is_marked_where_it_is_first() -> None:
    states, given = layer()
    states[1, 5, 2] += 1e-6
    states[0, 9] += 1e-3
    found = certify(states, **given)
    html = found._repr_html_()
    assert (found.where[0], found.first) == (0, (1, 5, 2))
    text = text_of(html)
    assert "wrong in float64: at (0, " in text and "first in time (1, 5, 2)" in text
    assert f"beyond the bound {found.wrong} of 96" in text
    (picture,) = parsed(html).iter("svg")
    assert picture.get("aria-label") == (
        "Error against timestep. The first beyond its bound is at timestep 5."
    )
    assert html == found._repr_html_()  # the same bytes again


def test_what_has_no_time_has_no_picture() -> None:
    states, given = layer()
    zeros = {"delta": np.zeros((2, 12, 4)), "kernel": np.zeros((3, 4))}
    found = certify_gradients(zeros, cotangent=np.zeros((2, 12, 4)), states=states, **given)
    assert not list(parsed(found["kernel"]._repr_html_()).iter("svg"))


@thinned(2)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_drawn_at_the_top(value: float) -> None:
    states, given = layer()
    states[0, 3, 1] = value
    assert "wrong" in text_of(certify(states, **given)._repr_html_())


def test_nothing_that_somebody_said_is_html() -> None:
    states, given = layer()
    found = dataclasses.replace(certify(states, **given), reason=HOSTILE, claimed=HOSTILE)
    assert isinstance(found, Certificate)
    text = text_of(found._repr_html_())
    assert "<script>alert(1)</script>\\x1b[31m\\u202e&" in text
    assert "\x1b" not in text and "\u202e" not in text


def test_what_is_too_large_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    states, given = layer()
    monkeypatch.setattr(notebook, "MOST_DRAWN", 95)
    assert not list(parsed(certify(states, **given)._repr_html_()).iter("svg"))
