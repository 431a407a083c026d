"""Is this what a recurrent layer computes? One call for every recurrence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnn_check.certificates import (
    adjoints,
    digits,
    gated,
    gated_adjoints,
    gradients,
    over_tape,
    projected,
    steps,
)
from rnn_check.certificates.asked import Asked
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.layer import Layer
from rnn_check.certificates.layouts import Layout
from rnn_check.certificates.result import Certificate, advised, with_causes
from rnn_check.numbers.arrays import numbers
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, SIMPLE, Recurrence, is_listed
from rnn_check.recurrences.kinds import recurrence as known

# of which each adjoint is asked of the one after it; all others over a tape
_ADJOINTS: dict[Recurrence, type[gradients.Gradients]] = {
    SIMPLE: adjoints.Adjoint,
    LSTM: gated_adjoints.GatedAdjoint,
    GRU: gated_adjoints.GatedAdjoint,
    GRU_BEFORE: gated_adjoints.GatedAdjoint,
}


def certify(
    states: Any,
    *,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    dtype: Any = None,
    recurrence: str | Recurrence = "simple",
    recurrent_activation: str | None = "sigmoid",
    reset_after: bool = True,
    cell_states: Any = None,
    layout: str = "keras",
    reading: Mapping[str, int] | None = None,
) -> Certificate:
    """Is each of these states the next value of the recurrence, up to the rounding of its step?

    states (B,T,H) in processing order, as the subject returned them; x (B,T,F), kernel (F,H),
    recurrent_kernel (H,H), bias (H,), initial_state (B,H) (zeros if not given), mask (B,T) in
    input order, True where a step counts; with go_backwards, x and mask are reversed first.
    dtype is the arithmetic that the subject claims, by default the states' own: "float64",
    "float32", "float16", "bfloat16" (the states then in any wider dtype), or Keras's policies
    "mixed_float16" and "mixed_bfloat16". Operands that it cannot hold are rounded to it first, to
    nearest, as frameworks do. float16 and bfloat16 are taken to be summed in float32, and to be
    narrow in all that is stored, as TensorFlow does.

    recurrence "simple", "gru" or "lstm". The latter have gates side by side, as Keras has them:
    a GRU's z, r, h, with kernel (F,3H), recurrent_kernel (H,3H) and bias (2,3H), or (3H,) with
    reset_after=False; an LSTM's i, f, c, o, with 4H in place of 3H and bias (4H,). An LSTM's
    initial_state is a pair, of h and of c. Its cell_states (B,T,H), if seen, are certified with the
    states: `where`, and the whole arrays, then have one axis more in front, of which 0 stands for
    the states and 1 for the cell states. If the last ones alone are seen, (B,H), or none, the cell
    states are known by what the states say of them: an interval for each, of which the share that
    is wider than a hundredth counts as blind.

    recurrence may be a definition of one's own, too, a `Recurrence` of rnn_check.recurrences.kinds,
    of one state or of two. It is asked step by step as any other, of gates in its order; of two
    states, cell_states is the second, which has to be seen at all steps. How sums were made is not
    asked of it. layout is "keras" or "time_major".

    layout: how all of these arrays stand. "keras": as above. "time_major": the same weights, states
    and x (T,B,·), mask (T,B). "torch": what torch.nn.RNN, LSTM and GRU take and give: time-major,
    kernel = weight_ih_l0 (GH,F), recurrent_kernel = weight_hh_l0 (GH,H), bias = the pair of
    bias_ih_l0 and bias_hh_l0, states (1,B,H) or (B,H); "torch_batch_first": with batch_first=True.
    "onnx": the inputs W, R, B of a node, X (T,B,F) and Y (T,1,B,H); reset_after is
    linear_before_reset. `where` is (sample, timestep, unit) in any of them.

    reading: to how many decimals numbers are known that somebody printed, {"weights": 4, "states":
    8}; "weights" or "kernel", "recurrent_kernel" and "bias", "x", "initial_state", "states",
    "cell_states". Each may be off by half a unit of that place. How sums were made is not asked
    then.

    A masked step must copy the state before it, bit for bit; before a sample's first step that
    counts, that is its initial state or, as Keras returns it, zeros. With zero_output_for_mask, the
    subject returns zeros for all masked steps instead. A sum that may overflow has no bound. A NaN
    among the operands of a step must make it NaN, and nothing else may.

    Raises ValueError for shapes that do not fit, unknown recurrences, activations and arithmetics.
    """
    r = known(recurrence, reset_after)
    given = Layout(layout, r).keras(
        {
            "states": states,
            "cell_states": cell_states,
            "x": x,
            "kernel": kernel,
            "mask": mask,
            "recurrent_kernel": recurrent_kernel,
            "bias": bias,
            "initial_state": initial_state,
        }
    )
    states, cell_states = given.pop("states"), given.pop("cell_states")
    read = _layer(
        states, r, recurrent_activation, cell_states, **given,
        activation=activation, go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask, dtype=dtype,
    )  # fmt: skip
    read.features = np.shape(numbers("x", x))[-1]
    off = {} if reading is None else digits.half_units(reading)
    with np.errstate(all="ignore"):
        if reading is not None:
            found = digits.certified(read, off)
        else:
            by = gated if isinstance(read, GatedLayer) else steps
            found = advised(by.certified(read), read.dtype, read.h)

    def asked() -> Asked:
        return _asked(read, r, states, given, off=off)

    return with_causes({"states": found}, asked)["states"] if is_listed(r) else found


def certify_gradients(
    observed: Mapping[str, Any],
    *,
    cotangent: Any,
    states: Any,
    cotangent_error: Any = None,
    cell_cotangent: Any = None,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    dtype: Any = None,
    recurrence: str | Recurrence = "simple",
    recurrent_activation: str | None = "sigmoid",
    reset_after: bool = True,
    cell_states: Any = None,
    layout: str = "keras",
    reading: Mapping[str, int] | None = None,
) -> dict[str, Certificate]:
    """Is each adjoint the one that follows from the next, and each gradient the sum they make?

    observed: "delta" (B,T,H), dL/dz in processing order, from which the others are judged, and any
    of "x" (B,T,F) in input order, "kernel" (F,H), "recurrent_kernel" (H,H), "bias" (H,),
    "initial_state" (B,H). cotangent (B,T,H) is dL/dh in processing order, as far as h is part of
    the output, off by at most cotangent_error. The other arguments are those of `certify`; the
    states are taken as they are, so certify them first.

    delta is 0 where the mask skips a step, and what reaches its state goes on to the one before.
    act' may have been evaluated from z or from h, and on either side of a kink. Sums over all steps
    may have been made in any order, step by step included.

    With gates, "delta" (B,T,GH) is dL/d of the argument of each gate, in the order of the kernel's
    columns, as one feature more for each of those columns shows it, that is 0 in x and 1 in that
    column of the kernel. An LSTM has "initial_cell_state" (B,H) besides, and cell_cotangent
    (B,T,H), dL/dc as far as c is part of the output; its activations have to be elementwise, as a
    GRU's. What reaches c (of a GRU: h) from later steps is hidden, and known by what each δ says of
    it.

    Of a recurrence that is a definition of one's own, each gradient is asked of the states, over
    all steps, and δ need not be among what is observed: errors grow from step to step, and how sums
    were made is not asked.

    layout: how all of these arrays stand, as in `certify`, each gradient as what it is the gradient
    of: with "torch", kernel is the gradient of weight_ih_l0 (GH,F), bias the pair of those of
    bias_ih_l0 and bias_hh_l0, and an LSTM's initial_state a pair; delta (T,B,GH) has torch's order
    of gates. What is returned, and `where`, is Keras's: kernel (F,GH); of two biases that are added
    up, "bias" and "second_bias".

    reading: to how many decimals numbers are known that somebody printed, as in `certify`; besides,
    "cotangent" and "observed". Each step is then taken from the states as they are known, and δ
    need not be among what is observed. How sums were made is not asked.

    Returns a certificate for each array observed. Raises ValueError for shapes that do not fit,
    unknown names, and without a delta.
    """
    r = known(recurrence, reset_after)
    if len(r.states) < 2 and cell_cotangent is not None:
        raise ValueError(f"cell_cotangent is of a second state, and {r.name!r} has none")
    how = Layout(layout, r)
    given = how.keras(
        {
            "states": states,
            "cell_states": cell_states,
            "x": x,
            "kernel": kernel,
            "mask": mask,
            "recurrent_kernel": recurrent_kernel,
            "bias": bias,
            "initial_state": initial_state,
        }
    )
    told = how.cotangents(
        {
            "states": states,
            "cotangent": cotangent,
            "cotangent_error": cotangent_error,
            "cell_cotangent": cell_cotangent,
        }
    )
    states, cell_states = given.pop("states"), given.pop("cell_states")
    read = _layer(
        states, r, recurrent_activation, cell_states, **given,
        activation=activation, go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask, dtype=dtype,
    )  # fmt: skip
    read.features = np.shape(numbers("x", x))[-1]
    cotangents = (told["cotangent"], told["cotangent_error"], told["cell_cotangent"])
    if reading is not None:
        off = digits.half_units(reading, digits.OF_GRADIENTS)
        with np.errstate(all="ignore"):
            return over_tape.certified(read, off, how.gradients(observed), *cotangents)
    with np.errstate(all="ignore"):
        observed = how.gradients(observed)
        if r in _ADJOINTS:
            found = gradients.certified(_ADJOINTS[r], read, observed, *cotangents)
        else:
            found = over_tape.certified(read, None, observed, *cotangents)
    if cotangent_error is not None or cell_cotangent is not None or not is_listed(r):
        return found

    def asked() -> Asked:
        return _asked(
            read, r, states, given, off={},
            observed={name: numbers(name, array) for name, array in observed.items()},
            cotangent=numbers("cotangent", told["cotangent"]).astype(np.float64),
        )  # fmt: skip

    return with_causes(found, asked)


def certify_projected(
    states: Any,
    *,
    groups: int = 16,
    steps: int | None = 2048,
    seed: int | None = 0,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    dtype: Any = None,
) -> Certificate:
    """The question of `certify`, asked of random sums of units at some of the steps.

    `steps` of all steps of all samples are asked, drawn at random (None: all, at several times the
    price). 32 of them are put to `certify` as they are, all units of them; its answer finds what is
    wrong at most steps, and gives the bits. At the others the units are dealt out at random into
    groups of n = H/groups (no fewer than 4), and each gets a sign r_j = ±1, once for all steps. For
    each step t and group g

        p_tg = Σ_j r_j (act⁻¹(ĥ_tj) - z_tj) = act⁻¹(ĥ_t)·r - x_t·(W·r) - ĥ_{t-1}·(U·r) - b·r

    where j runs over g: the group's errors as seen from z, with random signs. A state so near ±1
    that tanh's own rounding would blur its group says less about its z: that z is computed in full,
    and the state held against tanh(z) by itself. Masked steps are compared in full, all of them,
    bit for bit.

    Where a sum exceeds what rounding explains, or a single state does, `certify` is asked about all
    units of that step. So nothing is called wrong that `certify` does not call wrong. And it is
    asked about all of these steps, and no sums are made, where they could not tell: where 32 steps
    or fewer are asked, more than 1/64 of the states are near ±1, or more than 1/10 of the sums have
    a bound over a hundredth of what act can reach, as in float16 and bfloat16.

    The certificate's arrays are the sums, (S,groups); `observed` is the first term, and `where`
    (sample, timestep, group). If `certify` found something wrong, or was asked about all steps, the
    arrays are the states it was asked about, (steps,1,H), and `where` is (sample, timestep, unit).
    The bounds are those of a model (Higham & Mary 2019), that roundings have mean 0 given those
    before them, unless the worst case is smaller or `certify` had to be asked; the model decides
    what is looked at closely, not what is wrong.

    What it sees. What `certify` sees, in 32 steps. In others, an error of one unit is in p in full,
    whatever the signs, so that no draw misses it where it exceeds twice the bound, which is about

        λ u √(n(F + H)) (‖x_t‖‖W_j‖ + ‖ĥ_{t-1}‖‖U_j‖ + |b_j|)        λ about 6

    with the norms of a typical column; if it then exceeds `certify`'s bound, too, it is found.

    What it misses. A single wrong step that is not asked: of N steps, with probability 1 - steps/N.
    Errors that are not at most steps, and of several units that cancel: two units exchanged do so
    with probability 1/2 if they are in one group, and in one they are always if H/4, H/2 or 3H/4
    apart (rounded up), otherwise with probability 1/groups. In general the errors e of a group show
    less than half of their norm ‖e‖ with probability 13/16 at most (Paley and Zygmund's
    inequality), independently for each group. Who knows the signs can hide from them: seed=None
    draws others every time.

    Arguments as `certify`; activation linear or tanh, whose inverses cost little (else ValueError).
    """
    read = Layer(
        states, x=x, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias,
        activation=activation, initial_state=initial_state, mask=mask, go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask, dtype=dtype,
    )  # fmt: skip
    return projected.certified(read, groups, steps, seed)


def _layer(
    states: Any,
    recurrence: Recurrence,
    recurrent_activation: str | None,
    cell_states: Any,
    **operands: Any,
) -> Layer:
    if recurrence is not SIMPLE:
        with np.errstate(all="ignore"):
            return GatedLayer(recurrence, recurrent_activation, cell_states, states, **operands)
    if cell_states is not None:
        raise ValueError(f"cell_states are a second state, and {recurrence.name!r} has none")
    return Layer(states, **operands)


def _asked(
    layer: Layer, recurrence: Recurrence, states: Any, given: Mapping[str, Any], **rest: Any
) -> Asked:
    """What a layer was asked, for who looks for causes."""
    options: dict[str, Any] = {
        "activation": layer.name,
        "go_backwards": layer.go_backwards,
        "zero_output_for_mask": layer.zeroed,
    }
    if isinstance(layer, GatedLayer):
        options["recurrent_activation"] = layer.gate
    if recurrence in (GRU, GRU_BEFORE):
        options["reset_after"] = recurrence is GRU
    named = str(layer.dtype or "")
    return Asked.of(
        recurrence, states, given, layer.features, options=options,
        arithmetic=named if named.startswith("mixed_") else layer.a.name, **rest,
    )  # fmt: skip
