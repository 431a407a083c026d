"""How far may what an activation makes of a number be off, and what it passes back?"""

from __future__ import annotations

import numpy as np

from rnn_check.numbers import activations
from rnn_check.numbers.activations import Activation
from rnn_check.numbers.bounded import operand
from rnn_check.numbers.formats import FLOAT64, Arithmetic, Array, Bound, _upper, gamma
from rnn_check.numbers.spread import (
    _same_shape,
    activation_error,
    derivative_error,
    derivative_spread,
    spread,
)


def flushed(act: Activation, z: Array, d: Array | float, a: Arithmetic) -> Array:
    """What a derivative loses to numbers that are flushed to zero on the way, like z of shape.

    Where act' is not a number of the arithmetic already, four results at most are smaller than the
    smallest normal number, and each may yet be multiplied by z or 2z: x² gives 2z·(g/2r).
    """
    if act.exact_slope:
        return 2 * a.min_normal * np.ones_like(z)
    return 4 * a.min_normal * (1 + 2 * (np.abs(z) + d))


def vjp_bound(
    activation_name: str | None,
    g: Array,
    g_error: Array | float,
    z: Array,
    h: Array,
    d: Array | float,
    a: Arithmetic,
    h_rounded: Array | float = 0.0,
) -> tuple[Array, Bound]:
    """dz from g = dL/dh as reference computes it, and how far the subject's may be: both (...,H).

    g_error bounds the error of g, d that of z, and h_rounded by how much h was rounded by hand
    before act' was made of it (1 - h² and the like). Elementwise, dz = g·act'(z): one product, with
    the error of act' from z (derivative_spread) and its evaluation (derivative_error); inf where
    it, or g·z on the way to it, may overflow: gelu's g·z·exp(-z²/2) is then inf·0.
    softmax: dz = h(g - Σ g·h), and log_softmax: dz = g - exp(h)·Σ g, with h off by its own spread
    and activation_error. sparsemax: on its support dz = g minus the mean of g there; where that
    support is in doubt, no component exceeds 2 max|g|.
    """
    act = activations.activation(activation_name)
    z, d = _same_shape(z, d)
    with np.errstate(all="ignore"):
        G = operand(g, g_error, a)
        dz = np.asarray(act.vjp(G.value, z, np.asarray(h, np.float64)))
        if act.derivative is not None:
            slope = act.derivative(z, h)
            e = derivative_spread(act.name, z, d) + derivative_error(act.name, z, h, a, d)
            e = e + derivative_error(act.name, z, h, FLOAT64)
            if np.any(h_rounded):
                e = e + _by_rounded_state(act, z, h, d, np.asarray(h_rounded))
            largest = G.most
            most = largest * (abs(slope) + e)
            rounding = (gamma(3, a.u_stored) + gamma(3, FLOAT64.u)) * most
            rounding = rounding + flushed(act, z, d, a)
            copied = (e == 0) & ((slope == 0) | (slope == 1))
            error = G.error * (abs(slope) + e) + G.size * e + np.where(copied, 0.0, rounding)
            if not act.exact_slope:  # g·z on the way, as gelu and silu make it
                most = np.maximum(most, largest * (abs(z) + d))
            return dz, _upper(np.where(most > a.max, np.inf, error))
        n = z.shape[-1]
        u = a.u_stored + FLOAT64.u
        e = spread(act.name, z, d) + activation_error(act.name, z, h, a, d)
        e = e + activation_error(act.name, z, h, FLOAT64) + h_rounded
        p, e = (h, e) if act.name == "softmax" else (np.exp(h), np.exp(h) * np.expm1(e))
        if act.name == "log_softmax":
            e = e + activations.activation("exponential").c * u * (p + e) * (1 + abs(h))
        most_g, most_p = G.most, abs(p) + e
        if act.name == "softmax":
            total = (G.value * p).sum(-1, keepdims=True)
            total_most = (most_g * most_p).sum(-1, keepdims=True)
            total_error = (G.error * most_p + G.size * e).sum(-1, keepdims=True)
            total_error = total_error + gamma(n + 1, u) * total_most
            error = most_p * (G.error + total_error) + e * abs(G.value - total)
            error = error + gamma(4, u) * most_p * (most_g + total_most)
        elif act.name == "log_softmax":
            total = G.value.sum(-1, keepdims=True)
            total_most = most_g.sum(-1, keepdims=True)
            total_error = G.error.sum(-1, keepdims=True) + gamma(n, u) * total_most
            error = G.error + most_p * total_error + e * abs(total)
            error = error + gamma(4, u) * (most_g + most_p * total_most)
        else:
            threshold = _threshold(z, h)
            near = abs(z - threshold) <= e + d + activation_error(act.name, z, h, a, d)
            doubt = near.any(axis=-1, keepdims=True)
            most = most_g.max(-1, keepdims=True)
            certain = 2 * G.error.max(-1, keepdims=True) + gamma(n + 4, u) * 2 * most
            error = np.where(doubt, abs(dz) + 2 * most, certain) + 0 * z
        error = error + 2 * (n + 2) * a.min_normal * (1 + most_g.max(-1, keepdims=True))
        unknown = np.isinf(d).any(-1, keepdims=True) | (most_g.sum(-1, keepdims=True) > a.max)
        return dz, _upper(np.where(unknown, np.inf, error))


def _by_rounded_state(act: Activation, z: Array, h: Array, d: Array, r: Array) -> Array:
    """How far act' may move if it is made of an h that was rounded by r, for any z within d."""
    if act.by_state is None:
        return np.asarray(derivative_spread(act.name, z, d + r))
    return np.asarray(act.by_state(abs(h) + spread(act.name, z, d), r))


def _threshold(z: Array, h: Array) -> Array:
    """sparsemax's τ, from its definition Σ max(z - τ, 0) = 1 on the support that h shows."""
    inside = h > 0
    top = z.max(-1, keepdims=True)
    shifted = np.where(inside, z - top, 0).sum(-1, keepdims=True)
    return np.asarray(top + (shifted - 1) / inside.sum(-1, keepdims=True))


def _evaluated(name: str, z: Array, h: Array, d: Array, a: Arithmetic) -> Bound:
    """How far the subject's act(ẑ), |ẑ - z| <= d, may be from the reference's h = act(z)."""
    error = spread(name, z, d) + activation_error(name, z, h, a, d)
    exact = activations.activation(name).copies
    return error if exact else error + activation_error(name, z, h, FLOAT64)
