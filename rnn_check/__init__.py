"""rnn_check proves, number by number, that a recurrent layer computes the recurrence it claims.

from rnn_check import certify

result = certify(states, x=x, kernel=W, recurrent_kernel=U, bias=b)     # arrays from anywhere
result.ok, result.ratio, result.where, result.bits, result.consistent_with
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnn_check.certificate import Certificate, certify, certify_dense, certify_gradients
    from rnn_check.projection import certify_projected

__all__ = ["Certificate", "certify", "certify_dense", "certify_gradients", "certify_projected"]


def __getattr__(name: str) -> Any:
    """Imported when first used: `rnn-check --help` need not wait for NumPy."""
    if name in __all__:
        from rnn_check import certificate, projection

        return getattr(projection if name == "certify_projected" else certificate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
