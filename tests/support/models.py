"""Models of somebody's, some of them with a fault, as a file that a subject imports."""

MODELS = '''
import keras
from keras import layers

ops = keras.ops


def sequential(*inside, shape=(7, 3)):
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input(shape), *inside])


def two_directions():
    return sequential(
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="one"),
        layers.Bidirectional(layers.LSTM(2), name="two", merge_mode="ave"),
        layers.Dense(2, activation="sigmoid"),
    )


def translator():
    keras.utils.set_random_seed(4)
    words, y = keras.Input((6,), dtype="int32", name="words"), keras.Input((6, 3), name="y")
    embedded = layers.Embedding(9, 4, mask_zero=True)(words)
    _, h, c = layers.LSTM(3, return_sequences=True, return_state=True, name="reads")(embedded)
    steps = layers.LSTM(3, return_sequences=True, name="writes")(y, initial_state=[h, c])
    within = keras.Input((6, 3))
    masked = layers.Masking()(within)
    turned = layers.GRU(2, go_backwards=True, return_sequences=True, name="turned")(masked)
    inner = keras.Model(within, turned, name="inner")
    found = inner(steps)
    cells = [layers.LSTMCell(2), layers.GRUCell(2), layers.SimpleRNNCell(3)]
    stack = layers.RNN(cells, return_state=True, name="stack")(found)
    rest = layers.Concatenate()([layers.Flatten()(each) for each in (found, stack[0], stack[2])])
    return keras.Model([words, y], [rest, steps])


def masks():
    keras.utils.set_random_seed(5)
    x = keras.Input((5, 2), name="x")
    masked = layers.Masking()(x)
    both = layers.Bidirectional(layers.GRU(2, return_sequences=True), name="both")(masked)
    steps, h = layers.SimpleRNN(
        2, return_sequences=True, return_state=True, zero_output_for_mask=True, name="zeroed"
    )(both)
    last = layers.LSTM(2, name="last", zero_output_for_mask=True)(steps)
    before = layers.GRU(2, reset_after=False, name="before")(steps)
    return keras.Model(x, [last, before, h])


def kept():
    keras.utils.set_random_seed(6)
    x = keras.Input(batch_shape=(2, 4, 2))
    return keras.Model(x, layers.LSTM(3, stateful=True, name="kept")(x))


def shared():
    keras.utils.set_random_seed(7)
    one, other = keras.Input((4, 2), name="one"), keras.Input((4, 2), name="other")
    reader = layers.GRU(3, name="reader")
    return keras.Model([one, other], layers.Subtract()([reader(one), reader(other)]))


def frames():
    each = layers.TimeDistributed(layers.SimpleRNN(2, activation="relu"), name="each")
    return sequential(each, layers.LSTM(2, name="over"), shape=(3, 4, 2))


class Written(keras.Model):
    """A model that is a class, which does not say what it takes."""

    def __init__(self):
        super().__init__()
        self.parts = [layers.GRU(2, return_sequences=True, name="first"), layers.Dense(1)]
        self.unused = layers.LSTM(2, name="unused")

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def written():
    keras.utils.set_random_seed(8)
    model = Written()
    model(ops.ones((1, 4, 3)))
    model.unused.build((None, 4, 3))
    return model


def alone():
    keras.utils.set_random_seed(9)
    layer = layers.LSTM(3, unroll=True)
    layer.build((None, 4, 2))
    return layer


def one_cell():
    return sequential(layers.RNN(layers.LSTMCell(3), return_state=False, name="one"))


def sparse():
    return sequential(
        layers.GRU(4, activation="sparsemax", return_sequences=True, name="odd"),
        layers.LSTM(2, name="fine"),
    )


def sparse_cells():
    cells = [layers.LSTMCell(3), layers.SimpleRNNCell(4, activation="sparsemax")]
    return sequential(layers.RNN(cells, return_sequences=True), layers.LSTM(2))


def forgetful():
    return sequential(
        layers.Masking(),
        layers.SimpleRNN(
            3, unroll=True, zero_output_for_mask=True, return_sequences=True, name="forgets"
        ),
        layers.GRU(2, name="after"),
    )


class MyCell(layers.SimpleRNNCell):
    def call(self, sequence, states, training=False):
        z = ops.matmul(sequence, self.kernel) + ops.matmul(states[0], self.recurrent_kernel)
        state = self.activation(z + self.bias)
        return state, [state]


class Fused(layers.Bidirectional):
    """One kernel for both directions, which are not called."""

    def call(self, sequences, initial_state=None, mask=None, training=None):
        return ops.concatenate([sequences[:, :, :2] * 0.5, sequences[:, :, 1:] * 0.5], -1)


def fused():
    return sequential(Fused(layers.LSTM(2, return_sequences=True), name="both"),
                      layers.GRU(2, name="after"))


class Loop(layers.Layer):
    """A layer that calls a cell itself."""

    def __init__(self):
        super().__init__(name="loop")
        self.cell = layers.GRUCell(2)

    def build(self, shape):
        self.cell.build((shape[0], shape[2]))
        self.built = True

    def call(self, x):
        states = [ops.zeros((ops.shape(x)[0], 2))]
        for t in range(x.shape[1]):
            output, states = self.cell(x[:, t], states)
        return output


def own():
    return sequential(
        layers.RNN(MyCell(2), return_sequences=True, name="mine"),
        layers.LSTM(2, activation=lambda z: ops.tanh(z), return_sequences=True, name="odd"),
        layers.GRU(2, return_sequences=True, name="known"),
        Loop(),
    )


class Bare(layers.Layer):
    """A cell that says of itself no more than Keras's RNN asks for."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.state_size = self.output_size = units

    def build(self, shape):
        units = self.state_size
        self.kernel = self.add_weight(shape=(shape[-1], units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(units, units), name="recurrent_kernel")

    def call(self, sequence, states, training=False):
        z = ops.matmul(sequence, self.kernel) + ops.matmul(states[0], self.recurrent_kernel)
        return z, [z]


def bare():
    return sequential(layers.RNN(Bare(2), name="bare"))


def none():
    return sequential(layers.Dense(2))


def unknown_sizes():
    return sequential(layers.LSTM(2), shape=(None, None))


# what each of these gives is wrong


def off_at_a_step(self, call, args, kwargs):
    found = call(*args, **kwargs)
    if not self.return_sequences:
        return found
    steps, *rest = found if self.return_state else [found]
    steps = ops.concatenate([steps[:, :2], steps[:, 2:3] * 1.0001, steps[:, 3:]], 1)
    return (steps, *rest) if rest else steps


def another_output(self, call, args, kwargs):
    found = call(*args, **kwargs)
    return found if self.return_sequences else found * 1.0001


def another_state(self, call, args, kwargs):
    found = call(*args, **kwargs)
    if not self.return_state or self.return_sequences:
        return found
    return found[0], found[1] * 1.0001, found[2]


def another_cell_state(self, call, args, kwargs):
    found = call(*args, **kwargs)
    return found if not self.return_state else (found[0], found[1], found[2] * 1.001)


def half_a_gradient(self, call, args, kwargs):
    found = call(*args, **kwargs)
    if isinstance(found, (list, tuple)):
        parts = [each * 0.5 + ops.stop_gradient(each * 0.5) for each in found]
        return type(found)(parts)
    return found * 0.5 + ops.stop_gradient(found * 0.5)


def deaf(self, call, args, kwargs):
    (x, *rest) = args
    return call(x * 0.5 + ops.stop_gradient(x * 0.5), *rest, **kwargs)


def no_mask(self, call, args, kwargs):
    kwargs = {**kwargs, "mask": None}
    return call(*args, **kwargs)


class Faulty_off_at_a_step(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        kwargs = {"initial_state": initial_state, "mask": mask}
        return off_at_a_step(self, super().call, [sequences], kwargs)


class Faulty_another_output(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        kwargs = {"initial_state": initial_state, "mask": mask}
        return another_output(self, super().call, [sequences], kwargs)


class Faulty_another_state(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        kwargs = {"initial_state": initial_state, "mask": mask}
        return another_state(self, super().call, [sequences], kwargs)


class Faulty_another_cell_state(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        kwargs = {"initial_state": initial_state, "mask": mask}
        return another_cell_state(self, super().call, [sequences], kwargs)


class Faulty_half_a_gradient(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        kwargs = {"initial_state": initial_state, "mask": mask}
        return half_a_gradient(self, super().call, [sequences], kwargs)


class Faulty_deaf(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        kwargs = {"initial_state": initial_state, "mask": mask}
        return deaf(self, super().call, [sequences], kwargs)


class Faulty_no_mask(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        kwargs = {"initial_state": initial_state, "mask": mask}
        return no_mask(self, super().call, [sequences], kwargs)


def faulty(name, **options):
    """Three layers, of which that in the middle has a fault."""
    keras.utils.set_random_seed(10)
    x = keras.Input((6, 3))
    given = layers.Masking()(x) if name == "no_mask" else x
    steps = layers.GRU(3, return_sequences=True, name="before")(given)
    found = globals()[f"Faulty_{name}"](3, name="middle", **options)(steps)
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    steps = [each for each in found if len(each.shape) == 3] or [layers.RepeatVector(3)(found[0])]
    after = layers.SimpleRNN(2, name="after")(steps[0])
    return keras.Model(x, layers.Concatenate()([after, *(e for e in found if len(e.shape) == 2)]))


def with_off_at_a_step():
    return faulty("off_at_a_step", return_sequences=True)

def with_another_output():
    return faulty("another_output")

def with_another_state():
    return faulty("another_state", return_state=True)

def with_another_cell_state():
    return faulty("another_cell_state", return_state=True, return_sequences=True)

def with_half_a_gradient():
    return faulty("half_a_gradient", return_sequences=True)

def with_deaf():
    return faulty("deaf", return_sequences=True)

def with_no_mask():
    return faulty("no_mask", return_sequences=True)
'''
