"""rnn_check proves, number by number, that a recurrent layer computes the recurrence it claims.

from rnn_check import certify

result = certify(states, x=x, kernel=W, recurrent_kernel=U, bias=b)     # arrays from anywhere
result.ok, result.ratio, result.where, result.bits, result.consistent_with
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnn_check.certificates.asked import Asked
    from rnn_check.certificates.dense import certify_dense
    from rnn_check.certificates.public import certify, certify_gradients, certify_projected
    from rnn_check.certificates.result import Certificate, Told
    from rnn_check.cli.notebook import verify

__all__ = [
    "Certificate",
    "certify",
    "certify_dense",
    "certify_gradients",
    "certify_projected",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Imported when first used: `rnn-check --help` need not wait for NumPy."""
    if name == "verify":
        from rnn_check.cli.notebook import verify

        return verify
    if name in __all__:
        from rnn_check.certificates import dense, public, result

        result.shown_in_notebooks, result.causes_of = _as_html, _causes
        return next(vars(m)[name] for m in (public, dense, result) if name in vars(m))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _as_html(certificate: Certificate) -> str:
    from rnn_check.reports import notebook

    return notebook.certificate(certificate)


def _causes(asked: Asked) -> Told:
    from rnn_check.verdicts import certified

    return certified.causes(asked)
