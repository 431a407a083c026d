"""What should the numbers of a simple recurrent layer be, over a whole sequence?

    h_t = act(x_t·W + h_{t-1}·U + b)

with a mask, in either direction, from any start: the loop that is run, and back-propagation
through time, in no time. `gated` runs the same step as it is written, and is held against this.

    B batch, T timesteps, F features, H units
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z (B,T,H)
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import activations
from rnn_check.numbers.activations import Activation
from rnn_check.numbers.arrays import check
from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import SIMPLE, read


@dataclass(frozen=True)
class Cache:
    """What backward needs to remember of forward, in processing order and time-major."""

    activation: Activation
    go_backwards: bool
    x: Array  # (T,B,F)
    kernel: Array  # (F,H)
    recurrent_kernel: Array  # (H,H)
    bias: Array | None  # (H,)
    h: Array  # (T+1,B,H) the initial state first
    skip: Array | None  # (T,B,1) True where the mask says the step does not count


class Gradients(NamedTuple):
    """The gradient of a loss with respect to each argument of forward, and to z.

    Of any recurrence: G is its number of gates.
    """

    x: Array  # (B,T,F) in input order
    kernel: Array  # (F,GH)
    recurrent_kernel: Array  # (H,GH)
    bias: Array  # (GH,) or (biases,GH), also without a bias: what one of zeros would receive
    initial_state: Any  # (B,H), and with `gated` and `running` a tuple, one for each state
    delta: Array  # (B,T,GH) of the gates' arguments, in processing order


def forward(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
) -> tuple[Array, Cache]:
    """The states of a simple recurrent layer over a sequence, and what backward needs.

    x (B,T,F), kernel (F,H), recurrent_kernel (H,H), bias (H,), initial_state (B,H) (zeros if not
    given), mask (B,T) in input order, True where a step counts; the state is copied where not.
    With go_backwards, x and mask are reversed in time first, and the states come in processing
    order, as Keras returns them.

    Returns the states (B,T,H), in np.result_type of the numbers given. They are a view of
    time-major memory that backward reads again: copy them before you change them.
    All products with x are one matrix product before the loop, and each state replaces its step's
    share of it; the loop allocates nothing. (An activation may need room for its own steps, B·H
    numbers each; linear, tanh, relu and exponential need none.)

    Raises ValueError for an unknown activation or shapes that do not fit.
    """
    act = activations.activation(activation)
    start = None if initial_state is None else (initial_state,)
    given = read(
        SIMPLE, x, kernel, recurrent_kernel, bias,
        initial_state=start, mask=mask, go_backwards=go_backwards,
    )  # fmt: skip
    x, W, U, b, (h0,), skip = given[:6]
    (T, B, F), H = x.shape, U.shape[0]
    h = np.empty((T + 1, B, H), x.dtype)
    h[0] = h0
    np.matmul(x.reshape(T * B, F), W, out=h[1:].reshape(T * B, H))
    if b is not None:
        h[1:] += b
    z = np.empty((B, H), x.dtype)
    into = act.into or (lambda z, h: np.copyto(h, act.function(z)))
    before, add = h[0], np.add
    if skip is None:
        for h_t in h[1:]:  # h_t holds x_t·W + b until the state replaces it
            before.dot(U, z)
            add(z, h_t, z)
            into(z, h_t)
            before = h_t
    else:
        for h_t, skip_t in zip(h[1:], skip, strict=True):
            before.dot(U, z)
            add(z, h_t, z)
            into(z, h_t)
            np.copyto(h_t, before, where=skip_t)
            before = h_t
    return h[1:].swapaxes(0, 1), Cache(act, go_backwards, x, W, U, b, h, skip)


def backward(dstates: Array, cache: Cache) -> Gradients:
    """Back-propagation through time, without truncation.

    dstates (B,T,H) is dL/dh in processing order, as forward returned the states. Where the mask
    skipped a step its delta is 0, and what reaches its state goes on to the state before it.
    The gradients are true to the numbers' mathematics, complex ones not conjugated.
    Raises ValueError when dstates does not have the shape of the states.
    """
    x, W, U, h = cache.x, cache.kernel, cache.recurrent_kernel, cache.h
    T, B, F = x.shape
    H = U.shape[0]
    derivative, vjp = cache.activation.derivative, cache.activation.vjp
    dstates = np.asarray(dstates)
    check("dstates", dstates, (B, T, H), "the states that forward returned")

    z = np.tensordot(x, W, 1) + np.tensordot(h[:-1], U, 1)  # forward keeps h alone
    if cache.bias is not None:
        z += cache.bias
    delta = np.empty((T, B, H), np.result_type(dstates, h))
    if derivative is not None:
        delta[...] = derivative(z, h[1:])  # each waits where its delta will be
    g = np.empty((B, H), delta.dtype)  # dL/dh_t
    later = np.zeros((B, H), delta.dtype)  # the part of it that came through h_{t+1}
    U_transposed = U.T.astype(delta.dtype)
    for t in reversed(range(T)):
        delta_t = delta[t]
        np.add(dstates[:, t], later, out=g)
        if derivative is not None:
            np.multiply(g, delta_t, out=delta_t)
        else:
            delta_t[...] = vjp(g, z[t], h[t + 1])
        if cache.skip is not None:
            np.copyto(delta_t, 0, where=cache.skip[t])
        np.dot(delta_t, U_transposed, out=later)
        if cache.skip is not None:
            np.copyto(later, g, where=cache.skip[t])

    dx = np.tensordot(delta, W.T, 1).swapaxes(0, 1)  # (B,T,F)
    flat = delta.reshape(T * B, H)
    return Gradients(
        x=dx[:, ::-1] if cache.go_backwards else dx,
        kernel=x.reshape(T * B, F).T @ flat,
        recurrent_kernel=h[:-1].reshape(T * B, H).T @ flat,
        bias=flat.sum(axis=0),
        initial_state=later,
        delta=delta.swapaxes(0, 1),
    )
