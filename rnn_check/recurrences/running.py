"""How far may the states and gradients of a whole sequence be off, when only its end is seen?

A running error analysis (Higham, section 3.3), for vectors: errors grow from step to step.

    B batch, T timesteps, F features, H units
    E (B,T,H)   how far a state may be from the reference's     D (B,T,H) the same for z
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded, _given
from rnn_check.numbers.formats import Arithmetic, Array, Bound
from rnn_check.numbers.reading import Bounds, Node, Tape
from rnn_check.recurrences import over_time, simple
from rnn_check.recurrences.over_time import Gradients

# The recurrence -------------------------------------------------------------------------------


class Running(NamedTuple):
    """The reference in float64, and componentwise bounds on |subject - reference|."""

    states: Array  # (B,T,H) in processing order
    bound: Bound  # (B,T,H)
    carried: Bound  # (B,T,H) of the states as the next step takes them: rounded by hand, if at all
    z: Array  # (B,T,H)
    z_bound: Bound  # (B,T,H)


_INPUTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")


class ByHand(NamedTuple):
    """Half units of the last digit to which somebody who computes by hand rounds what is carried.

    (B,T,H) each, or a number, in processing order; absent where nothing is rounded.
    states: by name, before anything further is made of them, c of an LSTM in the same step. gates:
    by name, before they are multiplied. arguments: of gates by name, of act "" where there are no
    gates, before an activation is taken of them.
    """

    states: Mapping[str, Array | float] = {}
    gates: Mapping[str, Array | float] = {}
    arguments: Mapping[str, Array | float] = {}

    @property
    def rounds(self) -> bool:
        return any(np.any(part) for each in self for part in each.values())


NOT_BY_HAND = ByHand()


class _Layer:
    """What goes into each step of `simple.step`, as bounded numbers."""

    def __init__(
        self,
        arrays: Mapping[str, Array | None],
        arithmetic: Any,
        errors: Mapping[str, Array] | None,
        round_inputs: bool,
        by_hand: ByHand,
        **options: Any,
    ) -> None:
        errors = {} if errors is None else errors
        if unknown := [name for name in errors if name not in _INPUTS]:
            raise ValueError(f"errors of {unknown[0]!r}: known are {', '.join(_INPUTS)}")
        values: dict[str, Any]
        values = {k: None if v is None else np.asarray(v, np.float64) for k, v in arrays.items()}
        arranged = over_time.arranged(**values, **options)
        (T, B, _), H = arranged.x.shape, len(arranged.recurrent_kernel)
        absent = {"bias": (H,), "initial_state": (B, H)}
        self.a: Arithmetic = formats.arithmetic(arithmetic)
        given = {
            k: _given(
                np.zeros(absent[k]) if v is None else v, errors.get(k, 0.0), self.a, round_inputs
            )
            for k, v in values.items()
        }
        self.act, self.shape = arranged.activation.name, (T, B, H)
        x = given["x"].each(lambda part: part[:, ::-1] if options["go_backwards"] else part)
        x = x.each(lambda part: part.swapaxes(0, 1))
        self.x = [x.at(t) for t in range(T)]  # (B,F) each
        self.weights = simple.Weights(given["kernel"], given["recurrent_kernel"], given["bias"])
        self.start = given["initial_state"]
        self.keep = None if arranged.skip is None else ~arranged.skip
        self.rounded = self.steps_first(by_hand.states.get("h", 0.0))
        self.z_rounded = self.steps_first(by_hand.arguments.get("", 0.0))

    def steps_first(self, part: Array | float) -> Array:
        part = np.asarray(part, np.float64)
        return np.broadcast_to(part.swapaxes(0, 1) if part.ndim else part, self.shape)

    def stacked(self, each: Sequence[Array]) -> Array:
        """(B,T,H) of (B,H) for each step."""
        return np.reshape(each, self.shape).swapaxes(0, 1)


class _Steps(Bounds):
    """Remembers the arguments of act, which may be rounded by hand first."""

    def __init__(self, layer: _Layer) -> None:
        super().__init__(layer.a, layer.act)
        self.layer = layer
        self.z: list[Bounded] = []

    def act(self, z: Bounded, name: str = "") -> Bounded:
        self.z.append(z)
        return super().act(z.off_by(self.layer.z_rounded[len(self.z) - 1]))


class _TapedSteps(Tape):
    """The same over a tape; act' may be made of a state that was rounded."""

    def __init__(self, layer: _Layer) -> None:
        super().__init__(layer.a, layer.act)
        self.layer, self.t = layer, 0

    def act(self, z: Node, name: str = "") -> Node:
        t, self.t = self.t, self.t + 1
        z = z.off_by(self.layer.z_rounded[t])
        return self._activated(self.n.names[0], z, self.layer.rounded[t])


def running_bound(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = NOT_BY_HAND,
) -> Running:
    """The states of over_time.forward in float64, and how far another's computation may be off.

    Arguments as over_time.forward; and arithmetic, what the other computes in (see `arithmetic`);
    errors, how far the true inputs may be from those given (half units of what was printed; keys
    x, kernel, recurrent_kernel, bias, initial_state); round_inputs, whether inputs that the
    arithmetic cannot represent are rounded to it first; by_hand, to what is rounded by hand.
    Linear in T·H²: no certificate, but all there is for those who see the last state only.

    Raises ValueError as over_time.forward and `arithmetic`, and for unknown keys of errors.
    """
    arrays = dict(zip(_INPUTS, (x, kernel, recurrent_kernel, bias, initial_state), strict=True))
    options = {"activation": activation, "mask": mask, "go_backwards": go_backwards}
    computed: list[Bounded] = []
    carried: list[Bounded] = []
    with np.errstate(all="ignore"):
        layer = _Layer(arrays, arithmetic, errors, round_inputs, by_hand, **options)
        n, h = _Steps(layer), layer.start
        for t, x_t in enumerate(layer.x):
            (new,) = simple.step(n, layer.weights, x_t, h)
            computed.append(new if layer.keep is None else n.where(layer.keep[t], new, h))
            h = computed[-1].off_by(layer.rounded[t])
            carried.append(h)
    return Running(
        states=layer.stacked([b.value for b in computed]),
        bound=layer.stacked([b.error for b in computed]),
        carried=layer.stacked([b.error for b in carried]),
        z=layer.stacked([b.value for b in n.z]),
        z_bound=layer.stacked([b.error for b in n.z]),
    )


def running_gradients(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    cotangent: Array,
    cotangent_error: Array | None = None,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = NOT_BY_HAND,
) -> tuple[Gradients, Gradients]:
    """The gradients of over_time.backward in float64, and how far another's may be off.

    cotangent (B,T,H) is dL/dh in processing order, known to within cotangent_error, and rounded to
    the arithmetic if it is exactly known and round_inputs; the rest as running_bound.

    The tape over `simple.step`, gone back over: g_t = c_t + δ_{t+1}·Uᵀ is a sum with the error of
    δ_{t+1}, but at the last step, where nothing is added to c_t; δ_t comes from it by vjp_bound,
    and the gradients of weights are sums over B·T products. A masked step passes g_t on; there
    frameworks may add up cotangents in another order, so the sizes of all that were added are
    carried along.
    """
    arrays = dict(zip(_INPUTS, (x, kernel, recurrent_kernel, bias, initial_state), strict=True))
    options = {"activation": activation, "mask": mask, "go_backwards": go_backwards}
    with np.errstate(all="ignore"):
        layer = _Layer(arrays, arithmetic, errors, round_inputs, by_hand, **options)
        (T, B, H), F = layer.shape, len(layer.weights.kernel.value)
        exactly_known = cotangent_error is None
        c = _given(
            cotangent, 0.0 if cotangent_error is None else cotangent_error, layer.a,
            round_inputs and exactly_known,
        ).each(lambda part: part.swapaxes(0, 1))  # fmt: skip
        tape = _TapedSteps(layer)
        weights = simple.Weights(*map(tape.leaf, layer.weights))
        h = start = tape.leaf(layer.start)
        for t, x_t in enumerate(layer.x):
            (new,) = simple.step(tape, weights, tape.constant(x_t), h)
            new = new if layer.keep is None else tape.where(layer.keep[t], new, h)
            h = new.off_by(layer.rounded[t])
            h.receive(c.at(t))
        tape.backward()
        delta = tape.reached(weights.kernel)  # (T·B,H)
        of_x = tape.n.affine((delta, layer.weights.kernel.T), k=H + 1)
        of_weights = [tape.gradient(weight) for weight in weights]
        of_start = tape.n.exactly(np.zeros((B, H))) if start.gradient is None else start.gradient

    def part(which: str) -> Gradients:
        dx = getattr(of_x, which).reshape(T, B, F).swapaxes(0, 1)
        kernel, recurrent_kernel, bias = (getattr(b, which) for b in of_weights)
        return Gradients(
            x=dx[:, ::-1] if go_backwards else dx,
            kernel=kernel,
            recurrent_kernel=recurrent_kernel,
            bias=bias,
            initial_state=getattr(of_start, which),
            delta=layer.stacked(getattr(delta, which)),
        )

    return part("value"), part("error")
