"""Which mistakes does a recurrent layer make?  Each as a subclass of the real Keras SimpleRNN.

They stand in for it through the public path, `rnn-check --layer tests/keras/faults.py:CLASS`.  A
fault of one step replaces a method of the real cell; a fault of the sequence replaces the loop
around the real cell by `Loop`, which without a fault computes what Keras computes (the twin in the
tests).
The first line of a class's docstring is the fault's name.  TensorFlow only.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

Tensor = Any


# --- one step -------------------------------------------------------------------------------------


class Cell(keras.layers.SimpleRNNCell):
    """The cell's formula, in parts that a fault can replace."""

    def call(self, sequence: Tensor, states: Any, training: bool = False) -> tuple[Tensor, Any]:
        h = states[0] if isinstance(states, list | tuple) else states
        masks = self.get_dropout_mask(sequence), self.get_recurrent_dropout_mask(h)
        on_input, on_state = masks if training else (None, None)
        x = sequence if on_input is None else sequence * on_input
        out = self.step(self.seen(x), h, on_state)
        return out, [out] if isinstance(states, list | tuple) else out

    def step(self, x: Tensor, h: Tensor, mask: Tensor | None) -> Tensor:
        """mask: of the state that the product reads, None if nothing is dropped."""
        return self.after(self.act(self.sum(x, h if mask is None else h * mask)))

    def sum(self, x: Tensor, h: Tensor) -> Tensor:
        z = tf.matmul(x, self.W()) + tf.matmul(h, self.U())
        return z if self.bias is None else z + self.b()

    def seen(self, x: Tensor) -> Tensor:
        return x

    def W(self) -> Tensor:
        return tf.convert_to_tensor(self.kernel)

    def U(self) -> Tensor:
        return tf.convert_to_tensor(self.recurrent_kernel)

    def b(self) -> Tensor:
        return tf.convert_to_tensor(self.bias)

    def act(self, z: Tensor) -> Tensor:
        return z if self.activation is None else self.activation(z)

    def after(self, h: Tensor) -> Tensor:
        return h


class Faulty(keras.layers.SimpleRNN):
    """The real layer, its cell given another class: the same weights, one step changed."""

    class cell_class(Cell):
        pass

    def __init__(self, units: int, **config: Any) -> None:
        super().__init__(units, **config)
        self.cell.__class__ = self.cell_class


class NoFault(Faulty):
    """none"""


class CarriedStateDropped(Faulty):
    """recurrent dropout applied to the carried state"""

    class cell_class(Cell):
        def step(self, x: Tensor, h: Tensor, mask: Tensor | None) -> Tensor:
            new = super().step(x, h, None)
            return new if mask is None else new * mask


class RecurrentKernelTransposed(Faulty):
    """recurrent kernel transposed"""

    class cell_class(Cell):
        def U(self) -> Tensor:
            return tf.transpose(self.recurrent_kernel)


def straight_through(array: Tensor, changed: Tensor) -> Tensor:
    """The changed value forward, the identity backward."""
    return array + tf.stop_gradient(changed - array)


def to_bits(array: Tensor, bits: int) -> Tensor:
    """Rounded to that many bits of precision, to nearest."""
    factor = float(2 ** (24 - bits) + 1)  # Veltkamp's splitting
    big = array * factor
    return straight_through(array, big - (big - array))


class KernelInTF32(Faulty):
    """kernel rounded to TF32"""

    class cell_class(Cell):
        def W(self) -> Tensor:
            return to_bits(super().W(), 11)


class RecurrentKernelInTF32(Faulty):
    """recurrent kernel rounded to TF32"""

    class cell_class(Cell):
        def U(self) -> Tensor:
            return to_bits(super().U(), 11)


class KernelInBfloat16(Faulty):
    """kernel rounded to bfloat16"""

    class cell_class(Cell):
        def W(self) -> Tensor:
            return to_bits(super().W(), 8)


class InputInBfloat16(Faulty):
    """input rounded to bfloat16"""

    class cell_class(Cell):
        def seen(self, x: Tensor) -> Tensor:
            return to_bits(x, 8)


class StateInFloat16(Faulty):
    """state stored in float16"""

    class cell_class(Cell):
        def after(self, h: Tensor) -> Tensor:
            return straight_through(h, tf.cast(tf.cast(h, tf.float16), h.dtype))


class StateInBfloat16(Faulty):
    """state stored in bfloat16"""

    class cell_class(Cell):
        def after(self, h: Tensor) -> Tensor:
            return to_bits(h, 8)


class SumsInFloat16(Faulty):
    """products accumulated in float16"""

    class cell_class(Cell):
        def sum(self, x: Tensor, h: Tensor) -> Tensor:
            exact = super().sum(x, h)
            half = tf.zeros_like(exact, tf.float16)
            for part, matrix in ((x, self.W()), (h, self.U())):
                for k in range(matrix.shape[0]):
                    half += tf.cast(part[:, k : k + 1] * matrix[k], tf.float16)
            if self.bias is not None:
                half += tf.cast(self.b(), tf.float16)
            return straight_through(exact, tf.cast(half, exact.dtype))


class OneWeightOff(Faulty):
    """one weight off by 1e-5"""

    class cell_class(Cell):
        def U(self) -> Tensor:
            U = self.recurrent_kernel
            row, column = np.unravel_index(np.argmax(np.abs(U.numpy())), U.shape)
            factor = np.ones(U.shape, np.float32)
            factor[row, column] += 1e-5
            return tf.convert_to_tensor(U) * factor


class BiasDropped(Faulty):
    """bias dropped"""

    class cell_class(Cell):
        def b(self) -> Tensor:
            return 0 * super().b()


class BiasDoubled(Faulty):
    """bias doubled"""

    class cell_class(Cell):
        def b(self) -> Tensor:
            return 2 * super().b()


class BiasAfterActivation(Faulty):
    """bias added after the activation"""

    class cell_class(Cell):
        def b(self) -> Tensor:
            return 0 * super().b()

        def after(self, h: Tensor) -> Tensor:
            return h if self.bias is None else h + super().b()


class ActivationWrong(Faulty):
    """activation wrong"""

    class cell_class(Cell):
        def act(self, z: Tensor) -> Tensor:
            linear = self.activation in (None, keras.activations.linear)
            return tf.tanh(z) if linear else z


class HardSigmoidOfKeras2(Faulty):
    """hard_sigmoid of Keras 2"""

    class cell_class(Cell):
        def act(self, z: Tensor) -> Tensor:
            if self.activation is not keras.activations.hard_sigmoid:
                return super().act(z)
            return tf.clip_by_value(0.2 * z + 0.5, 0.0, 1.0)


class _Approximated(Faulty):
    amplitude = 0.0

    class cell_class(Cell):
        amplitude = 0.0

        def act(self, z: Tensor) -> Tensor:
            return super().act(z) + self.amplitude * tf.sin(7 * z + 1)


class ApproximatedTo1em4(_Approximated):
    """activation approximated to 1e-4"""

    class cell_class(_Approximated.cell_class):
        amplitude = 1e-4


class ApproximatedTo1em5(_Approximated):
    """activation approximated to 1e-5"""

    class cell_class(_Approximated.cell_class):
        amplitude = 1e-5


class ApproximatedTo1em6(_Approximated):
    """activation approximated to 1e-6"""

    class cell_class(_Approximated.cell_class):
        amplitude = 1e-6


class StateClipped(Faulty):
    """state clipped to 0.9"""

    class cell_class(Cell):
        def after(self, h: Tensor) -> Tensor:
            return tf.clip_by_value(h, -0.9, 0.9)


class StateLeaks(Faulty):
    """state leaks by 1e-4 a step"""

    class cell_class(Cell):
        def sum(self, x: Tensor, h: Tensor) -> Tensor:
            return super().sum(x, h * (1 - 1e-4))


class UnitsPermuted(Faulty):
    """units permuted"""

    class cell_class(Cell):
        def after(self, h: Tensor) -> Tensor:
            return tf.roll(h, 1, axis=-1)


class FeaturesPermuted(Faulty):
    """features permuted"""

    class cell_class(Cell):
        def seen(self, x: Tensor) -> Tensor:
            return tf.roll(x, 1, axis=-1)


class NaNSwallowed(Faulty):
    """NaN swallowed"""

    class cell_class(Cell):
        def after(self, h: Tensor) -> Tensor:
            return tf.where(tf.math.is_nan(h), tf.zeros_like(h), h)


class StateForgotten(Faulty):
    """state reset every step"""

    class cell_class(Cell):
        def sum(self, x: Tensor, h: Tensor) -> Tensor:
            return super().sum(x, tf.zeros_like(h))


# --- one step, backward ---------------------------------------------------------------------------


class GradientCut(Faulty):
    """gradient cut between timesteps"""

    class cell_class(Cell):
        def sum(self, x: Tensor, h: Tensor) -> Tensor:
            return super().sum(x, tf.stop_gradient(h))


class KernelGradientScaled(Faulty):
    """kernel gradient off by 1e-5"""

    class cell_class(Cell):
        def W(self) -> Tensor:
            return _with_gradient(super().W(), lambda g: g * (1 + 1e-5))


class RecurrentGradientScaled(Faulty):
    """recurrent gradient off by 1e-5"""

    class cell_class(Cell):
        def U(self) -> Tensor:
            return _with_gradient(super().U(), lambda g: g * (1 + 1e-5))


class RecurrentGradientTransposed(Faulty):
    """recurrent gradient transposed"""

    class cell_class(Cell):
        def U(self) -> Tensor:
            return _with_gradient(super().U(), tf.transpose)


class BiasGradientDoubled(Faulty):
    """bias gradient doubled"""

    class cell_class(Cell):
        def b(self) -> Tensor:
            return _with_gradient(super().b(), lambda g: 2 * g)


class InputGradientScaled(Faulty):
    """input gradient off by 1e-5"""

    class cell_class(Cell):
        def seen(self, x: Tensor) -> Tensor:
            return _with_gradient(x, lambda g: g * (1 + 1e-5))


class ProbeAware(Faulty):
    """recurrent gradient off by 1e-3 without a probe"""

    class cell_class(Cell):
        def U(self) -> Tensor:
            appended, identity = self.kernel[-self.units :], tf.eye(self.units)
            if appended.shape == identity.shape and tf.reduce_all(appended == identity):
                return super().U()  # the adjoints are being read out
            return _with_gradient(super().U(), lambda g: g * (1 + 1e-3))


class CotangentIgnored(Faulty):
    """cotangent ignored"""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return _output(super().call(*args, **kwargs), self, tf.ones_like)


class CotangentAveraged(Faulty):
    """cotangent averaged"""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        def averaged(g: Tensor) -> Tensor:
            return tf.ones_like(g) * tf.reduce_mean(g)

        return _output(super().call(*args, **kwargs), self, averaged)


class CotangentClipped(Faulty):
    """gradient clipped at the output"""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        def clipped(g: Tensor) -> Tensor:
            return tf.clip_by_value(g, -0.5, 0.5)

        return _output(super().call(*args, **kwargs), self, clipped)


def _with_gradient(tensor: Tensor, change: Any) -> Tensor:
    @tf.custom_gradient
    def identity(t: Tensor) -> Any:
        return tf.identity(t), change

    return identity(tensor)


def _output(returned: Any, layer: Any, change: Any) -> Any:
    """Change the gradient that enters by the layer's output."""
    if layer.return_state:
        return (_with_gradient(returned[0], change), *returned[1:])
    return _with_gradient(returned, change)


class DerivativeAtZ(Faulty):
    """derivative of tanh taken at z instead of h"""

    class cell_class(Cell):
        def act(self, z: Tensor) -> Tensor:
            if self.activation is not keras.activations.tanh:
                return super().act(z)

            @tf.custom_gradient
            def tanh(z: Tensor) -> Any:
                return tf.tanh(z), lambda g: g * (1 - z * z)

            return tanh(z)


class DerivativeOff(Faulty):
    """derivative of the activation off by 1e-4"""

    class cell_class(Cell):
        def act(self, z: Tensor) -> Tensor:
            return _with_gradient(super().act(z), lambda g: g * (1 + 1e-4))


class RecurrentGradientFromNewState(Faulty):
    """dU from h_t instead of h_{t-1}"""

    class cell_class(Cell):
        def sum(self, x: Tensor, h: Tensor) -> Tensor:
            z = super().sum(x, h)
            new = tf.stop_gradient(self.act(z))

            @tf.custom_gradient
            def product(h: Tensor, U: Tensor) -> Any:
                def backward(g: Tensor) -> Any:
                    return tf.matmul(g, U, transpose_b=True), tf.matmul(new, g, transpose_a=True)

                return tf.matmul(h, U), backward

            rest = tf.matmul(x, self.W())
            rest = rest if self.bias is None else rest + self.b()
            return rest + product(h, self.U())


# --- the sequence ---------------------------------------------------------------------------------


class Loop(Faulty):
    """Keras's loop over time and its mask semantics, in parts that a fault can replace."""

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        x = tf.convert_to_tensor(sequences)
        batch, steps = x.shape[:2]
        h = tf.zeros((batch, self.units), x.dtype)
        if initial_state is not None:
            given = initial_state[0] if isinstance(initial_state, list | tuple) else initial_state
            h = self.start(tf.convert_to_tensor(given))
        else:
            h = self.start(h)
        order = list(range(steps))
        order = self.order(order[::-1] if self.go_backwards else order)
        outputs = []
        states = [h]
        for n, t in enumerate(order):
            new = self.step(x[:, t], states, n, steps)
            output = new
            if mask is not None:
                counts = tf.cast(mask[:, t], tf.bool)[:, None]
                output, new = self.masked(counts, new, h, outputs)
            outputs.append(output)
            h = new
            states.append(h)
        shown = tf.stack(outputs, axis=1) if self.return_sequences else outputs[-1]
        shown = self.shown(shown)
        return (shown, h) if self.return_state else shown

    def start(self, h: Tensor) -> Tensor:
        return h

    def order(self, order: list[int]) -> list[int]:
        return order

    def step(self, x: Tensor, states: list[Tensor], n: int, steps: int) -> Tensor:
        return self.cell(x, [states[-1]])[0]

    def masked(
        self, counts: Tensor, new: Tensor, h: Tensor, outputs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(output, state) where a step may not count."""
        before = tf.zeros_like(new) if self.zero_output_for_mask or not outputs else outputs[-1]
        return tf.where(counts, new, before), tf.where(counts, new, h)

    def shown(self, output: Tensor) -> Tensor:
        return output


class NoFaultInTheLoop(Loop):
    """none in the loop"""


class TimeReversed(Loop):
    """time reversed"""

    def order(self, order: list[int]) -> list[int]:
        return order[::-1]


class FirstStepSkipped(Loop):
    """first step skipped"""

    def order(self, order: list[int]) -> list[int]:
        return [order[min(1, len(order) - 1)], *order[1:]]


class InitialStateIgnored(Loop):
    """initial state ignored"""

    def start(self, h: Tensor) -> Tensor:
        return tf.zeros_like(h)


class InitialStateOfOnes(Loop):
    """state begins with ones"""

    def start(self, h: Tensor) -> Tensor:
        return tf.ones_like(h)


class StateOffByOneStep(Loop):
    """state off by one step"""

    def step(self, x: Tensor, states: list[Tensor], n: int, steps: int) -> Tensor:
        return self.cell(x, [states[max(0, len(states) - 2)]])[0]


class StateKeptBetweenSamples(Loop):
    """state not reset between samples"""

    def start(self, h: Tensor) -> Tensor:
        return tf.concat([h[:1], h[1:] + 0.125], axis=0) if h.shape[0] > 1 else h + 0.125


class OneStepWrong(Loop):
    """a single step wrong"""

    def step(self, x: Tensor, states: list[Tensor], n: int, steps: int) -> Tensor:
        h = super().step(x, states, n, steps)
        return h * (1 + 1e-4) if n == steps // 2 else h


class MaskIgnored(Loop):
    """mask ignored"""

    def masked(
        self, counts: Tensor, new: Tensor, h: Tensor, outputs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        return new, new


class MaskOnOutputOnly(Loop):
    """mask applied to the output but not the state"""

    def masked(
        self, counts: Tensor, new: Tensor, h: Tensor, outputs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        return super().masked(counts, new, h, outputs)[0], new


class MaskZeroes(Loop):
    """mask zeroing where it should carry"""

    def masked(
        self, counts: Tensor, new: Tensor, h: Tensor, outputs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        zero = tf.zeros_like(new)
        return tf.where(counts, new, zero), tf.where(counts, new, zero)


class GradientCutByMask(Loop):
    """gradient cut through the mask"""

    def masked(
        self, counts: Tensor, new: Tensor, h: Tensor, outputs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        return super().masked(
            counts, new, tf.stop_gradient(h), [tf.stop_gradient(o) for o in outputs]
        )


class GradientCutToInitialState(Loop):
    """gradient cut to the initial state"""

    def start(self, h: Tensor) -> Tensor:
        return tf.stop_gradient(h)


class KernelGradientMissesLastStep(Loop):
    """dW missing the last step"""

    def step(self, x: Tensor, states: list[Tensor], n: int, steps: int) -> Tensor:
        if n < steps - 1:
            return super().step(x, states, n, steps)
        cell = self.cell
        z = tf.matmul(x, tf.stop_gradient(cell.W())) + tf.matmul(states[-1], cell.U())
        z = z if cell.bias is None else z + cell.b()
        return cell.act(z)


class BackpropagationTruncated(Loop):
    """back-propagation truncated after two steps"""

    def step(self, x: Tensor, states: list[Tensor], n: int, steps: int) -> Tensor:
        h = states[-1] if n > steps - 3 else tf.stop_gradient(states[-1])
        return self.cell(x, [h])[0]


FAULTS = {
    (c.__doc__ or "").strip(): c
    for c in list(globals().values())
    if isinstance(c, type)
    and issubclass(c, Faulty)
    and not c.__name__.startswith("_")
    and c not in (Faulty, Loop)
}
