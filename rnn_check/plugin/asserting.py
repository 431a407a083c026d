"""How does a test assert a certificate, so that it is explained when it fails?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rnn_check
from rnn_check.certificates import comparison
from rnn_check.certificates.result import Certificate
from rnn_check.claims.expectations.expectation import axes
from rnn_check.reports.explaining import arrays


def certify(states: Any, **layer: Any) -> Certificate:
    """`rnn_check.certify(states, **layer)`. AssertionError unless every step is proved to follow.

    Raises what that raises.
    """
    __tracebackhide__ = True
    result = rnn_check.certify(states, **layer)
    _check({"states": result}, ("sample", "timestep", "unit"))
    return result


def certify_gradients(observed: Mapping[str, Any], **layer: Any) -> dict[str, Certificate]:
    """`rnn_check.certify_gradients`. AssertionError unless all are proved; it explains each."""
    __tracebackhide__ = True
    result = rnn_check.certify_gradients(observed, **layer)
    _check(result, None)
    return result


def _check(found: Mapping[str, Certificate], names: tuple[str, ...] | None) -> None:
    __tracebackhide__ = True
    texts = []
    for what, certificate in found.items():
        if certificate.ok is True:
            continue
        ndim = certificate.residual.ndim
        made = comparison.step(what, certificate, names or axes("gradient", what, ndim))
        if certificate.ok is None:
            texts.append(f"not proved: {made.unproved}")
        else:
            lines = [f"  cause     agrees if {cause}" for cause in certificate.causes]
            lines += [f"  cause     {certificate.no_cause}"] * bool(certificate.no_cause)
            texts.append("\n".join([made.blame(), *lines, *arrays(made)]))
    if texts:
        raise AssertionError("\n\n".join(texts))
