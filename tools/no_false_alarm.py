"""Does an honest layer ever fail?  Random layers on real TensorFlow, each step certified.

    python -m tools.no_false_alarm --layers 10000        # tens of minutes; `pytest --all` does 150
    python -m tools.no_false_alarm --recurrence lstm --layers 10000        # or gru
    python -m tools.no_false_alarm --layers 10000 --workers 8      # or --scheduler tcp://host:8786

Every layer is a real keras.layers.SimpleRNN, run forward, and forward and backward with the probe
that reads out δ, in each of three modes: eager, tf.function, XLA.  Compiling is what costs, so
layers come in families of one structure (shapes, activation, options) and many draws of numbers,
from subnormal to saturating; layer n of a run is always the same.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np

from rnn_check import certify, certify_gradients
from rnn_check.numbers.formats import ARITHMETICS
from rnn_check.recurrences import gated, kinds, over_time
from tests.support.layers import Gated, Layer, random_gated, random_layer
from tests.support.lazily import Lazily
from tools import sharing

keras: Any = Lazily("keras")
tf: Any = Lazily("tensorflow")
FLOAT32 = ARITHMETICS["float32"]
MODES = ("eager", "function", "xla")
# Keras 3.15 sums the cumulative sums of the whole support instead of taking its last one, so that
# sparsemax([0.5, 0.4, 0.3]) is [0, 0, 0]; test_no_false_alarm.py holds it to that
KNOWN_WRONG = ("sparsemax",)
# Three more of its errors show in few numbers only; layers that have them are judged all the same
KNOWN = {
    "twice": "the gradient of celu at 0 is 2, not 1",
    "fused": "mish in a tf.function without a gradient is fused into one that cancels",
    "thrown away": "a step that the mask skips would overflow; its 0·inf is NaN, here and before",
}
NOT_ELEMENTWISE = ("softmax", "log_softmax")  # forward only: see certify_gradients


@dataclass
class Tally:
    """How many certificates were asked for, the largest ratio, and what failed."""

    certificates: int = 0
    worst: float = 0.0
    fewest_bits: float = np.inf
    alarms: list[str] = field(default_factory=list)
    known: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, result: Any, known: str | None = None) -> None:
        self.certificates += 1
        if known is not None:
            self.known[known] += 1
            return
        self.worst = max(self.worst, result.ratio)
        if result.bits is not None:
            self.fewest_bits = min(self.fewest_bits, result.bits)
        # an arithmetic that overflows in many places proves nothing, and says so; that is no alarm
        if result.ok is False:
            self.alarms.append(f"{name}: {result.reason}")

    def join(self, other: Tally) -> None:
        """Count what another counted."""
        self.certificates += other.certificates
        self.worst = max(self.worst, other.worst)
        self.fewest_bits = min(self.fewest_bits, other.fewest_bits)
        self.alarms += other.alarms
        self.known += other.known


def family(number: int, size: int, recurrence: str = "simple") -> Iterator[Layer]:
    """`size` layers of one structure."""
    first = _first(number, recurrence)
    yield first
    others = (random_layer(seed) for seed in range(10**6 * (number + 1), 10**9))
    for n in range(1, size):
        scale = next(others).scale
        rng = np.random.default_rng([number, n])
        yield _redrawn(first, scale, rng)


def _first(number: int, recurrence: str) -> Layer:
    if recurrence != "simple":
        gated = random_gated(number, recurrence)
        for name, instead in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
            if getattr(gated, name) in KNOWN_WRONG:
                gated = replace(gated, **{name: instead})
        return gated
    first = random_layer(number)
    if first.activation in KNOWN_WRONG:
        first = random_layer(number, activation="tanh")
    return first


def _redrawn(layer: Layer, scale: str, rng: np.random.Generator) -> Layer:
    """The same structure with other numbers, in the manner of another scale."""
    tiny = float(np.finfo(np.float32).tiny)
    factor = {
        "ordinary": lambda s: np.ones(s),
        "saturating": lambda s: np.full(s, 10.0),
        "small": lambda s: np.full(s, 0.01),
        "tiny": lambda s: np.full(s, 2.0**20 * tiny**0.5),
        "subnormal": lambda s: np.where(rng.uniform(size=s) < 0.5, tiny, tiny**0.5),
        "dyadic": lambda s: np.ones(s),
        "mixed": lambda s: 2.0 ** rng.integers(-20, 6, size=s),
    }[scale]

    def draw(like: Any, size: float = 1.0) -> Any:
        if like is None:
            return None
        values = rng.normal(size=like.shape) * factor(like.shape) * size
        return (np.round(4 * values) / 4 if scale == "dyadic" else values).astype(np.float32)

    features, units = len(layer.kernel), len(layer.recurrent_kernel)
    mask = layer.mask
    more = {}
    if isinstance(layer, Gated):
        more["initial_cell_state"] = draw(layer.initial_cell_state)
    if mask is not None:
        mask = rng.uniform(size=mask.shape) < rng.choice([0.3, 0.7, 0.95])
    return replace(
        layer,
        scale=scale,
        x=draw(layer.x),
        kernel=draw(layer.kernel, features**-0.5),
        recurrent_kernel=draw(layer.recurrent_kernel, units**-0.5),
        bias=draw(layer.bias),
        initial_state=draw(layer.initial_state),
        mask=mask,
        cotangent=rng.normal(size=layer.cotangent.shape).astype(np.float32),
        **more,
    )


class Subject:
    """The Keras layers of one structure, and their compiled functions."""

    def __init__(self, layer: Layer) -> None:
        self.features, self.units = layer.kernel.shape
        config = {
            "activation": layer.activation,
            "use_bias": layer.bias is not None,
            "return_sequences": True,
            "go_backwards": layer.go_backwards,
        }
        self.plain, self.probe = (keras.layers.SimpleRNN(self.units, **config) for _ in range(2))
        steps = layer.x.shape[:2]
        self.plain.build((*steps, self.features))
        self.probe.build((*steps, self.features + self.units))
        self.functions = {mode: self._compiled(mode) for mode in MODES}

    def _compiled(self, mode: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
        if mode == "eager":
            return self._forward, self._backward
        jit = mode == "xla"
        return (
            tf.function(self._forward, jit_compile=jit),
            tf.function(self._backward, jit_compile=jit),
        )

    def _forward(self, x: Any, h0: Any, mask: Any) -> Any:
        return self.plain(x, initial_state=h0, mask=mask)

    def _backward(self, x: Any, h0: Any, mask: Any, cotangent: Any) -> Any:
        start = tf.zeros((x.shape[0], self.units)) if h0 is None else h0
        with tf.GradientTape() as tape:
            tape.watch([x, start])
            states = self.probe(x, initial_state=start, mask=mask)
            loss = tf.reduce_sum(states * cotangent)
        return states, tape.gradient(
            loss, [x, start, *self.probe.trainable_weights], unconnected_gradients="zero"
        )

    def certify(self, layer: Layer, mode: str, tally: Tally) -> None:
        """Run the layer in this mode and certify all that it returns."""
        name = f"layer {layer.seed} {layer.activation} {layer.scale} {layer.x.shape} {mode}"
        bias = [] if layer.bias is None else [layer.bias]
        self.plain.set_weights([layer.kernel, layer.recurrent_kernel, *bias])
        probe = np.concatenate([layer.kernel, np.eye(self.units, dtype=np.float32)])
        self.probe.set_weights([probe, layer.recurrent_kernel, *bias])
        x, h0, mask, c = (
            None if array is None else tf.convert_to_tensor(array)
            for array in (layer.x, layer.initial_state, layer.mask, layer.cotangent)
        )
        forward, backward = self.functions[mode]
        states = forward(x, h0, mask).numpy()
        result = certify(states, **layer.arguments)
        tally.add(f"{name} states", result, _fused(mode, layer.activation, result))
        if layer.activation in NOT_ELEMENTWISE:
            return
        padded = tf.concat([x, tf.zeros((*layer.x.shape[:2], self.units))], axis=-1)
        states, found = backward(padded, h0, mask, c)
        gradients = dict(
            zip(("x", "initial_state", "kernel", "recurrent_kernel", "bias"), found, strict=False)
        )
        observed = {name: gradient.numpy() for name, gradient in gradients.items()}
        dx = observed["x"]
        delta = dx[:, :, self.features :]
        observed["delta"] = delta[:, ::-1] if layer.go_backwards else delta
        observed["x"] = dx[:, :, : self.features]
        observed["kernel"] = observed["kernel"][: self.features]
        cotangent = layer.cotangent
        if layer.mask is not None:  # Keras shows zeros before the first step that counts
            order = layer.mask[:, ::-1] if layer.go_backwards else layer.mask
            shown = np.logical_or.accumulate(order, axis=1)[:, :, None]
            cotangent = np.where(shown, cotangent, np.float32(0))
        results = certify_gradients(
            observed, cotangent=cotangent, states=states.numpy(), **layer.arguments
        )
        for what, result in results.items():
            known = None if result.ok is not False else _known(layer, what, result)
            tally.add(f"{name} gradient of {what}", result, known)


@cache
def showing() -> Any:
    """An LSTM's cell whose output is its cell state beside its state."""

    class Showing(keras.layers.LSTMCell):
        def __init__(self, units: int, **config: Any) -> None:
            super().__init__(units, **config)
            self.output_size = 2 * units

        def call(self, sequence: Any, states: Any, training: bool = False) -> Any:
            h, states = super().call(sequence, states, training=training)
            return tf.concat([h, states[1]], axis=-1), states

    return Showing


class GatedSubject(Subject):
    """The same of a GRU or an LSTM: the layer itself, and one with the probe for every gate.

    What shows an LSTM's cell states at every step is `RNN` over the real cell.
    """

    def __init__(self, layer: Gated) -> None:
        self.layer = layer
        self.units = len(layer.recurrent_kernel)
        self.features, self.wide = layer.kernel.shape
        is_lstm = layer.recurrence == "lstm"
        of_cell = {
            "activation": layer.activation,
            "recurrent_activation": layer.recurrent_activation,
            "use_bias": layer.bias is not None,
        }
        if not is_lstm:
            of_cell["reset_after"] = layer.reset_after
        of_layer = {"return_sequences": True, "return_state": True,
                    "go_backwards": layer.go_backwards}  # fmt: skip
        kind = keras.layers.LSTM if is_lstm else keras.layers.GRU
        self.plain = kind(self.units, **of_cell, **of_layer)
        cell = (showing() if is_lstm else keras.layers.GRUCell)(self.units, **of_cell)
        self.probe = keras.layers.RNN(cell, **of_layer)
        steps = layer.x.shape[:2]
        self.plain.build((*steps, self.features))
        self.probe.build((*steps, self.features + self.wide))
        self.functions = {mode: self._compiled(mode) for mode in MODES}

    def _states(self, outputs: Any) -> tuple[Any, Any]:
        """The states, and the last cell state of an LSTM."""
        return outputs[0], outputs[-1]

    def _forward(self, x: Any, start: Any, mask: Any) -> Any:
        return self._states(self.plain(x, initial_state=start, mask=mask))

    def _backward(self, x: Any, start: Any, mask: Any, cotangent: Any) -> Any:
        if start is None:
            start = [tf.zeros((x.shape[0], self.units))] * (1 + (self.layer.recurrence == "lstm"))
            start = [tf.identity(s) for s in start]
        with tf.GradientTape() as tape:
            tape.watch([x, *start])
            states, _ = self._states(self.probe(x, initial_state=start, mask=mask))
            loss = tf.reduce_sum(states[:, :, : self.units] * cotangent)
        return states, tape.gradient(
            loss, [x, start, self.probe.trainable_weights], unconnected_gradients="zero"
        )

    def certify(self, layer: Layer, mode: str, tally: Tally) -> None:
        assert isinstance(layer, Gated)
        name = (
            f"layer {layer.seed} {layer.recurrence} {layer.activation} "
            f"{layer.recurrent_activation} {layer.reset_after} {layer.scale} {layer.x.shape} {mode}"
        )
        is_lstm, units = layer.recurrence == "lstm", self.units
        bias = [] if layer.bias is None else [layer.bias]
        self.plain.set_weights([layer.kernel, layer.recurrent_kernel, *bias])
        probe = np.concatenate([layer.kernel, np.eye(self.wide, dtype=np.float32)])
        self.probe.set_weights([probe, layer.recurrent_kernel, *bias])
        x, mask, c = (
            None if array is None else tf.convert_to_tensor(array)
            for array in (layer.x, layer.mask, layer.cotangent)
        )
        start = None
        if layer.initial_state is not None:
            start = [layer.initial_state] + ([layer.initial_cell_state] if is_lstm else [])
            start = [tf.convert_to_tensor(s) for s in start]
        forward, backward = self.functions[mode]
        states, last = forward(x, start, mask)
        arguments = layer.arguments
        seen = {"cell_states": last.numpy()} if is_lstm else {}
        result = certify(states.numpy(), **arguments, **seen)
        applied = layer.activation, layer.recurrent_activation
        tally.add(
            f"{name} states",
            result,
            next(filter(None, (_fused(mode, a, result) for a in applied)), None),
        )
        padded = tf.concat([x, tf.zeros((*layer.x.shape[:2], self.wide))], axis=-1)
        shown, (dx, d_start, d_weights) = backward(padded, start, mask, c)
        states = shown.numpy()[:, :, :units]
        cells: list[Any] = [{}]
        if is_lstm:
            cells = [{"cell_states": shown.numpy()[:, :, units:]}, {}]
        tally.add(f"{name} all states", certify(states, **arguments, **cells[0]))
        if layer.activation in NOT_ELEMENTWISE or layer.recurrent_activation in NOT_ELEMENTWISE:
            return
        dx = dx.numpy()
        delta = dx[:, :, self.features :]
        observed = {
            "delta": delta[:, ::-1] if layer.go_backwards else delta,
            "x": dx[:, :, : self.features],
            "kernel": d_weights[0].numpy()[: self.features],
            "recurrent_kernel": d_weights[1].numpy(),
            "initial_state": d_start[0].numpy(),
        }
        if layer.bias is not None:
            observed["bias"] = d_weights[2].numpy()
        if is_lstm:
            observed["initial_cell_state"] = d_start[1].numpy()
        cotangent = layer.cotangent
        if layer.mask is not None:  # Keras shows zeros before the first step that counts
            order = layer.mask[:, ::-1] if layer.go_backwards else layer.mask
            counted = np.logical_or.accumulate(order, axis=1)[:, :, None]
            cotangent = np.where(counted, cotangent, np.float32(0))
        for seen in cells:
            results = certify_gradients(
                observed, cotangent=cotangent, states=states, **arguments, **seen
            )
            for what, result in results.items():
                known = None if result.ok is not False else _known(layer, what, result)
                tally.add(f"{name} gradient of {what} {list(seen)}", result, known)


def _fused(mode: str, activation: str, result: Any) -> str | None:
    """Whether an alarm of a forward pass is of the fused mish."""
    return "fused" if (mode, activation, result.ok) == ("function", "mish", False) else None


def _known(layer: Layer, what: str, result: Any) -> str | None:
    """Which of Keras's known errors explains every element that is beyond its bound."""
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = ~(result.residual <= result.bound)
        twice = np.abs(result.observed - 2 * result.expected) <= 2 * result.bound
        names = [layer.activation]
        if isinstance(layer, Gated):
            names.append(layer.recurrent_activation)
        of_deltas = what in ("delta", "initial_state", "initial_cell_state")
        if (
            "celu" in names
            and of_deltas
            and (
                twice[beyond].all()
                # of gates, all that is made of such a gradient is wrong
                or (isinstance(layer, Gated) and _celu_of_zero(layer))
            )
        ):
            return "twice"
        if layer.mask is None or not of_deltas:
            return None
        processed = layer.mask[:, ::-1] if layer.go_backwards else layer.mask
        overflows = _overflowing(layer)
    thrown = ~processed & overflows
    reached = np.logical_or.accumulate(thrown[:, ::-1], axis=1)[:, ::-1]  # adjoints go backwards
    reached = reached[:, :1] if what.startswith("initial") else reached[:, :, None]
    explained = np.isnan(result.observed) & reached
    return "thrown away" if explained[beyond].all() else None


def _celu_of_zero(layer: Gated) -> bool:
    """Whether some argument of celu is 0, or may be flushed to it."""
    with np.errstate(all="ignore"):
        r, ran = _ran(layer)
        taken = []
        for step in ran.steps:
            for name, s in zip(r.gates, step.s, strict=True):
                of_act = name == ("c" if r.name == "lstm" else "h")
                act = layer.activation if of_act else layer.recurrent_activation
                taken += [s] if act == "celu" else []
            taken += [step.c] if r.name == "lstm" and layer.activation == "celu" else []
        return bool((np.abs(taken) < 2 * FLOAT32.min_normal).any())


def _ran(layer: Gated) -> tuple[kinds.Recurrence, gated.Run]:
    """The reference in float64."""
    arguments = _wide(layer)
    r = kinds.recurrence(arguments.pop("recurrence"), arguments.pop("reset_after"))
    start = arguments["initial_state"]
    if isinstance(start, np.ndarray):
        arguments["initial_state"] = (start,)
    return r, gated.forward(r, **arguments)


def _overflowing(layer: Layer) -> Any:
    """(B,T) at which steps, masked or not, something exceeds what float32 holds."""
    with np.errstate(all="ignore"):
        if isinstance(layer, Gated):
            r, ran = _ran(layer)
            flat = [
                [*step[: len(r.states)], *step.s, *(getattr(step, f) for f in r.fields)]
                for step in ran.steps
            ]
            most = [np.max([np.abs(part) for part in parts], axis=(0, 2)) for parts in flat]
            return ~(np.stack(most, axis=1) <= FLOAT32.max)
        ran = over_time.forward(**_wide(layer))[1]  # time-major
        z = ran.x @ ran.kernel + ran.h[:-1] @ ran.recurrent_kernel
        z = z if ran.bias is None else z + ran.bias
        return (ran.activation.function(z) > FLOAT32.max).any(axis=2).T


def _wide(layer: Layer) -> dict[str, Any]:
    """The arguments in float64, in which nothing of float32's size overflows."""
    return {
        name: tuple(part.astype(np.float64) for part in array)
        if isinstance(array, tuple)
        else array.astype(np.float64)
        if isinstance(array, np.ndarray) and array.dtype.kind == "f"
        else array
        for name, array in layer.arguments.items()
    }


def certified(number: int, per_family: int, modes: tuple[str, ...], recurrence: str) -> Tally:
    """The tally of one family."""
    keras.config.disable_traceback_filtering()
    tally, subject = Tally(), None
    for layer in family(number, per_family, recurrence):
        if subject is None:
            subject = GatedSubject(layer) if isinstance(layer, Gated) else Subject(layer)
        for mode in modes:
            subject.certify(layer, mode, tally)
    tf.keras.backend.clear_session()
    return tally


def run(
    layers: int,
    per_family: int,
    first: int = 0,
    modes: tuple[str, ...] = MODES,
    log: Any = None,
    recurrence: str = "simple",
    client: Any = None,
) -> Tally:
    """Certify that many layers, in families; the tally. client: see `sharing`."""
    tally, start = Tally(), time.perf_counter()
    numbers = range(first, first + -(-layers // per_family))
    do = partial(certified, per_family=per_family, modes=modes, recurrence=recurrence)
    for done, found in enumerate(sharing.each(client, do, numbers), 1):
        tally.join(found)
        if log:
            seconds = time.perf_counter() - start
            for alarm in found.alarms:
                log(alarm)
            log(
                f"{done} of {len(numbers)} families: {tally.certificates} certificates, largest "
                f"ratio {tally.worst:.3f}, fewest bits {tally.fewest_bits:.1f}, "
                f"{len(tally.alarms)} alarms, {seconds:.0f} s"
            )
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=300)
    parser.add_argument("--per-family", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="the first family's number")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--recurrence", choices=("simple", "gru", "lstm"), default="simple")
    sharing.add_options(parser)
    given = parser.parse_args()
    modes = tuple(given.modes)
    with sharing.client(parser, given) as client:
        tally = run(
            given.layers, given.per_family, given.first, modes, print, given.recurrence, client
        )
    for name, count in sorted(tally.known.items()):
        print(f"{count} certificates show a known error of Keras's: {KNOWN[name]}")
    print(
        f"{tally.certificates} certificates, largest ratio {tally.worst:.3f}, "
        f"{len(tally.alarms)} alarms"
    )
    raise SystemExit(bool(tally.alarms))


if __name__ == "__main__":
    from tools import no_false_alarm  # what workers know it as

    no_false_alarm.main()
