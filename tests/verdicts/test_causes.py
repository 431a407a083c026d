"""Is the cause named of a mistake that is planted, and none of what has no cause?

The mistakes are made here, in the text of a claim or in its numbers, and not by what looks for
them: the numbers of a layer with the mistake are claimed of the layer without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from rnn_check.asking.observations import Observations
from rnn_check.asking.request import Answer, Setting
from rnn_check.asking.run import Asked
from rnn_check.claims import files
from rnn_check.claims.causes import backwards
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.shapes import Counted
from rnn_check.claims.truth import Truth
from rnn_check.subjects.identity import Identity
from rnn_check.verdicts import diagnosis
from rnn_check.verdicts.gathered import MOST_DIAGNOSED, Verdicts
from rnn_check.verdicts.judge import Verdict
from rnn_check.verdicts.known import Known
from tests.support.sampling import sampled

pytestmark = pytest.mark.thinned(8)

Array = Any


def _matrix(rows: int, columns: int, seed: int) -> Array:
    """Numbers of two decimals, no two of them alike."""
    drawn = np.random.default_rng(seed).permutation(np.arange(-80, 81, 3))[: rows * columns]
    return (drawn / 100).reshape(rows, columns)


@dataclass(frozen=True)
class Run:
    """An experiment: what stands in its file."""

    kind: str = "SimpleRNN"
    options: str = ""
    reading: str = ""
    kernel: Array = None
    recurrent_kernel: Array = None
    bias: Array = None
    second: Array = None
    x: Array = None
    start: Array = None
    mask: Array = None
    cotangent: Array = None

    @classmethod
    def of(cls, kind: str = "SimpleRNN", T: int = 4, F: int = 2, H: int = 2, **more: Any) -> Run:
        G = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]
        made: dict[str, Any] = {
            "kind": kind,
            "kernel": _matrix(F, G * H, 1),
            "recurrent_kernel": _matrix(H, G * H, 2),
            "bias": _matrix(2 if kind == "GRU" else 1, G * H, 3),
            "x": _matrix(T, F, 4)[None] * 2,
        }
        made["bias"] = made["bias"] if kind == "GRU" else made["bias"][0]
        return cls(**{**made, **more})

    def text(self, expects: str) -> str:
        def line(name: str, array: Array) -> str:
            return "" if array is None else f"{name} = {np.asarray(array).tolist()}\n".lower()

        loss = "" if self.cotangent is None else "[loss]\n" + line("cotangent", self.cotangent)
        return (
            'schema = 1\ntitle = "t"\nsource = { document = "a test" }\n'
            f'[layer]\nkind = "{self.kind}"\nunits = {len(self.recurrent_kernel)}\n'
            f"return_sequences = true\n{self.options}\n"
            f'[reading]\ncomputed_in = "real"\n{self.reading}\n'
            f"[weights]\n{line('kernel', self.kernel)}"
            f"{line('recurrent_kernel', self.recurrent_kernel)}{line('bias', self.bias)}"
            f"{line('recurrent_bias', self.second)}"
            f"[input]\n{line('x', self.x)}{line('initial_state', self.start)}"
            f"{line('mask', self.mask)}{loss}{expects}"
        )

    @property
    def claim(self) -> Claim:
        return files.loads(self.text(expecting(output=np.zeros(self._shape))))

    @property
    def _shape(self) -> tuple[int, ...]:
        return (*np.shape(self.x)[:2], len(self.recurrent_kernel))

    def output(self) -> Array:
        return Truth(self.claim, "real").output.value

    def gradient(self, of: str) -> Array:
        return Truth(self.claim, "real").gradient(of).value

    def claiming(self, digits: int = 7, **numbers: Array) -> Claim:
        return files.loads(self.text(expecting(digits, **numbers)))


def expecting(digits: int = 7, **numbers: Array) -> str:
    return "".join(
        f'[[expect]]\nwhat = "{name.partition("_of_")[0]}"\nfrom = "a test"\n'
        + (f'of = "{name.partition("_of_")[2]}"\n' if "_of_" in name else "")
        + f"value = {_printed(array, digits)}\n"
        for name, array in numbers.items()
    )


def _printed(array: Array, digits: int) -> str:
    if np.ndim(array):
        return "[" + ", ".join(_printed(part, digits) for part in array) + "]"
    return f"{float(array):.{digits}f}"


def named(honest: Run, mistaken: Run, digits: int = 7) -> list[str]:
    """What is said of numbers that were made by a mistake."""
    found, _ = diagnosis.of_claim(honest.claiming(digits, output=mistaken.output()))
    return found


@pytest.fixture
def no_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single entries are many, and not what these tests ask about."""
    monkeypatch.setattr(diagnosis, "MOST_ENTRIES", 0)


SIMPLE = Run.of()
LSTM, GRU = Run.of("LSTM", T=3), Run.of("GRU", T=3)
MASK = [[True, False, True, True]]
MASKED = replace(SIMPLE, mask=MASK)
STARTED = replace(SIMPLE, start=[[0.5, -0.25]])


def turned(array: Array, gates: int = 1) -> Array:
    return np.concatenate([part.T for part in np.split(array, gates, axis=1)], axis=1)


def exchanged(run: Run, one: int, other: int) -> Run:
    gates = {"LSTM": 4, "GRU": 3}[run.kind]
    order = [*range(gates)]
    order[one], order[other] = other, one

    def moved(array: Array) -> Array:
        parts = np.split(array, gates, axis=-1)
        return np.concatenate([parts[i] for i in order], axis=-1)

    return replace(
        run,
        kernel=moved(run.kernel),
        recurrent_kernel=moved(run.recurrent_kernel),
        bias=moved(run.bias),
    )


def with_forget_bias(change: Callable[[Array], Array]) -> Run:
    i, f, c, o = np.split(LSTM.bias, 4)
    return replace(LSTM, bias=np.concatenate([i, change(f), c, o]))


def mirrored(run: Run) -> Run:
    sign = np.repeat([-1.0, 1.0, 1.0], 2)
    return replace(
        run,
        kernel=run.kernel * sign,
        recurrent_kernel=run.recurrent_kernel * sign,
        bias=run.bias * sign,
    )


def at(array: Array, index: tuple[int, ...], value: float) -> Array:
    changed = np.array(array)
    changed[index] = value
    return changed


IN_WEIGHTS = {
    "kernel is dropped": (SIMPLE, replace(SIMPLE, kernel=0 * SIMPLE.kernel)),
    "recurrent_kernel is dropped": (
        SIMPLE,
        replace(SIMPLE, recurrent_kernel=0 * SIMPLE.recurrent_kernel),
    ),
    "kernel is transposed": (SIMPLE, replace(SIMPLE, kernel=SIMPLE.kernel.T)),
    "recurrent_kernel is transposed": (
        SIMPLE,
        replace(SIMPLE, recurrent_kernel=SIMPLE.recurrent_kernel.T),
    ),
    "rows of recurrent_kernel are permuted": (
        SIMPLE,
        replace(SIMPLE, recurrent_kernel=SIMPLE.recurrent_kernel[::-1]),
    ),
    "features are permuted": (SIMPLE, replace(SIMPLE, kernel=SIMPLE.kernel[::-1])),
    "kernel and recurrent_kernel are exchanged": (
        SIMPLE,
        replace(SIMPLE, kernel=SIMPLE.recurrent_kernel, recurrent_kernel=SIMPLE.kernel),
    ),
    "bias is dropped": (SIMPLE, replace(SIMPLE, bias=0 * SIMPLE.bias)),
    "bias is doubled": (SIMPLE, replace(SIMPLE, bias=2 * SIMPLE.bias)),
    "recurrent_kernel is transposed (LSTM)": (
        LSTM,
        replace(LSTM, recurrent_kernel=turned(LSTM.recurrent_kernel, 4)),
    ),
    "recurrent_bias is dropped": (
        replace(SIMPLE, second=[0.3, -0.2]),
        SIMPLE,
    ),
    "recurrent_bias is the only bias": (
        replace(SIMPLE, second=[0.3, -0.2]),
        replace(SIMPLE, bias=[0.3, -0.2]),
    ),
    "recurrent_bias is added twice, bias is not": (
        replace(SIMPLE, second=[0.3, -0.2]),
        replace(SIMPLE, bias=[0.6, -0.4]),
    ),
    "bias is added twice, recurrent_bias is not": (
        replace(SIMPLE, second=[0.3, -0.2]),
        replace(SIMPLE, bias=2 * SIMPLE.bias),
    ),
    "the rows of bias are exchanged": (GRU, replace(GRU, bias=GRU.bias[::-1])),
    "the second row of bias is dropped": (GRU, replace(GRU, bias=GRU.bias * [[1], [0]])),
}
IN_ENTRIES = {
    "recurrent_kernel[1][0] is 0.31 in place of -0.31": (
        replace(SIMPLE, recurrent_kernel=[[0.2, 0.7], [-0.31, 0.1]]),
        replace(SIMPLE, recurrent_kernel=[[0.2, 0.7], [0.31, 0.1]]),
    ),
    "kernel[0][1] is 0.5 in place of 0.4": (
        replace(SIMPLE, kernel=[[0.2, 0.4], [-0.31, 0.1]]),
        replace(SIMPLE, kernel=[[0.2, 0.5], [-0.31, 0.1]]),
    ),
    "x[0][2][1] is 1.5 in place of 0.5": (
        replace(SIMPLE, x=at(SIMPLE.x, (0, 2, 1), 0.5)),
        replace(SIMPLE, x=at(SIMPLE.x, (0, 2, 1), 1.5)),
    ),
}
IN_BIAS = {
    "bias is off by 0.25 in every unit": (SIMPLE, replace(SIMPLE, bias=SIMPLE.bias + 0.25)),
    "bias is off by a constant: [0.125, -0.5] more": (
        SIMPLE,
        replace(SIMPLE, bias=SIMPLE.bias + np.array([0.125, -0.5])),
    ),
}
IN_OPTIONS = {
    "activation is linear": (SIMPLE, replace(SIMPLE, options='activation = "linear"')),
    "activation is relu": (SIMPLE, replace(SIMPLE, options='activation = "relu"')),
    "activation is sigmoid": (SIMPLE, replace(SIMPLE, options='activation = "sigmoid"')),
    "recurrent_activation is hard_sigmoid": (
        LSTM,
        replace(LSTM, options='recurrent_activation = "hard_sigmoid"'),
    ),
    "recurrent_activation is sigmoid": (
        replace(GRU, options='recurrent_activation = "hard_sigmoid"'),
        GRU,
    ),
    "gates i and f are exchanged": (LSTM, exchanged(LSTM, 0, 1)),
    "gates i and o are exchanged": (LSTM, exchanged(LSTM, 0, 3)),
    "gates f and o are exchanged": (LSTM, exchanged(LSTM, 1, 3)),
    "gates i and c are exchanged": (LSTM, exchanged(LSTM, 0, 2)),
    "gates f and c are exchanged": (LSTM, exchanged(LSTM, 1, 2)),
    "gates c and o are exchanged": (LSTM, exchanged(LSTM, 2, 3)),
    "gates z and r are exchanged": (GRU, exchanged(GRU, 0, 1)),
    "gates z and h are exchanged": (GRU, exchanged(GRU, 0, 2)),
    "gates r and h are exchanged": (GRU, exchanged(GRU, 1, 2)),
    "1 is added to the bias of the forget gate": (LSTM, with_forget_bias(lambda f: f + 1)),
    "the bias of the forget gate is less by 1": (LSTM, with_forget_bias(lambda f: f - 1)),
    "the bias of the forget gate is dropped": (LSTM, with_forget_bias(lambda f: 0 * f)),
    "the bias of the forget gate is doubled": (LSTM, with_forget_bias(lambda f: 2 * f)),
    "the reset gate is applied before the product (reset_after = false)": (
        GRU,
        replace(GRU, options="reset_after = false", bias=GRU.bias.sum(0)),
    ),
    "the reset gate is applied after the product (reset_after = true)": (
        replace(GRU, options="reset_after = false", bias=GRU.bias[0]),
        replace(GRU, bias=GRU.bias * [[1], [0]]),
    ),
    "z and 1 - z are exchanged (z weighs the candidate)": (GRU, mirrored(GRU)),
}
IN_INPUT = {
    "time is reversed": (SIMPLE, replace(SIMPLE, x=SIMPLE.x[:, ::-1])),
    "initial state is ignored": (STARTED, SIMPLE),
    "the initial states h and c are exchanged": (
        replace(LSTM, start=[[[0.5, -0.25]], [[0.75, 1.0]]]),
        replace(LSTM, start=[[[0.75, 1.0]], [[0.5, -0.25]]]),
    ),
    "mask is ignored": (MASKED, SIMPLE),
    "the mask is inverted": (MASKED, replace(SIMPLE, mask=[[False, True, False, False]])),
    "steps that the mask skips show zeros": (
        MASKED,
        replace(MASKED, options="zero_output_for_mask = true"),
    ),
    "steps that the mask skips repeat the state before them": (
        replace(MASKED, options="zero_output_for_mask = true"),
        MASKED,
    ),
    "time is reversed among the steps that are not masked": (
        MASKED,
        replace(MASKED, x=SIMPLE.x[:, [3, 1, 2, 0]]),
    ),
    "timesteps and features of x are exchanged": (
        Run.of(T=3, F=3),
        replace(Run.of(T=3, F=3), x=Run.of(T=3, F=3).x.swapaxes(1, 2)),
    ),
}


@pytest.mark.parametrize("words", [*IN_ENTRIES, *IN_BIAS])
def test_a_number_that_should_be_another_is_named(words: str) -> None:
    assert words in named(*{**IN_ENTRIES, **IN_BIAS}[words])


@pytest.mark.thinned(16)
@pytest.mark.parametrize("words", [*IN_WEIGHTS, *IN_OPTIONS, *IN_INPUT])
@pytest.mark.usefixtures("no_entries")
def test_a_mistake_in_the_experiment_is_named(words: str) -> None:
    honest, mistaken = {**IN_WEIGHTS, **IN_OPTIONS, **IN_INPUT}[words]
    assert words.removesuffix(" (LSTM)") in named(honest, mistaken)


def test_rows_of_a_batch_that_were_taken_for_timesteps_are_named() -> None:
    honest = replace(SIMPLE, x=SIMPLE.x.swapaxes(0, 1))
    wrong = SIMPLE.output().swapaxes(0, 1)
    found, _ = diagnosis.of_claim(honest.claiming(output=wrong))
    assert found == [
        "batch and time of x are exchanged: its rows are the timesteps of one sample, each follows "
        "from the one before"
    ]
    found, _ = diagnosis.of_claim(SIMPLE.claiming(output=honest.output().swapaxes(0, 1)))
    assert "batch and time of x are exchanged: each timestep is a sample of its own" in found


def _from_another_step(before: int, step: int) -> Array:
    """The output if a step follows from that one, and the rest from the step."""
    whole, x = SIMPLE.output(), SIMPLE.x
    taken = [*range(before + 1), *range(step, x.shape[1])]
    rest = replace(SIMPLE, x=x[:, taken]).output()
    return np.concatenate([whole[:, :step], rest[:, before + 1 :]], axis=1)


SHOWN: dict[str, tuple[Run, Array]] = {
    "the steps are shown in reverse": (SIMPLE, SIMPLE.output()[:, ::-1]),
    "every step shows the last state": (SIMPLE, SIMPLE.output()[:, [3, 3, 3, 3]]),
    "each step is shown one step early": (SIMPLE, SIMPLE.output()[:, [1, 2, 3, 3]]),
    "the steps that are not masked are shown in reverse": (
        MASKED,
        MASKED.output()[:, [3, 1, 2, 0]],
    ),
    "steps that the mask skips are shown as zero": (
        MASKED,
        MASKED.output() * np.array(MASK)[:, :, None],
    ),
    "step 3 follows from step 1": (SIMPLE, _from_another_step(1, 3)),
    "step 2 follows from the initial state": (SIMPLE, _from_another_step(-1, 2)),
    "what is shown is clipped at 0.5": (SIMPLE, np.clip(SIMPLE.output(), -0.5, 0.5)),
}


@pytest.mark.parametrize("words", SHOWN)
@pytest.mark.usefixtures("no_entries")
def test_a_mistake_in_what_is_shown_is_named(words: str) -> None:
    honest, numbers = SHOWN[words]
    assert words in diagnosis.of_claim(honest.claiming(output=numbers))[0]


def test_digits_that_were_cut_off_are_named() -> None:
    cut = np.trunc(SIMPLE.output() * 1e4) / 1e4
    found, _ = diagnosis.of_claim(SIMPLE.claiming(4, output=cut))
    assert "digits are cut off, not rounded" in found


@pytest.mark.usefixtures("no_entries")
def test_weights_that_were_rounded_when_they_were_printed_are_named() -> None:
    finer = replace(SIMPLE, kernel=SIMPLE.kernel + 0.004)
    assert "the weights are read as rounded when they were printed" in named(SIMPLE, finer)
    finer = replace(SIMPLE, x=SIMPLE.x + 0.004)
    assert "the input is read as rounded when they were printed" in named(SIMPLE, finer)


@pytest.mark.usefixtures("no_entries")
def test_weights_that_were_kept_as_float32_are_named() -> None:
    output = replace(
        SIMPLE,
        kernel=SIMPLE.kernel.astype(np.float32).astype(float),
        recurrent_kernel=SIMPLE.recurrent_kernel.astype(np.float32).astype(float),
        bias=SIMPLE.bias.astype(np.float32).astype(float),
    ).output()
    found, _ = diagnosis.of_claim(SIMPLE.claiming(12, output=output))
    assert "the weights are read as float32" in found
    output = replace(SIMPLE, x=SIMPLE.x.astype(np.float32).astype(float)).output()
    found, _ = diagnosis.of_claim(SIMPLE.claiming(12, output=output))
    assert "the input is read as float32" in found


COTANGENT = _matrix(4, 2, 5)[None]
LOST = replace(SIMPLE, cotangent=COTANGENT)


def _by_steps(
    turned: bool = True, late: bool = False, slope: bool = True, most: int = 4, run: Run = SIMPLE
) -> Array:
    """dU of tanh, step by step, in the way of the mistake; masked steps hand on what they get."""
    h, U = run.output()[0], run.recurrent_kernel
    mask = [True] * 4 if run.mask is None else run.mask[0]
    dU = np.zeros_like(U)
    for last in range(4):
        g = COTANGENT[0, last]
        for t in range(last, max(-1, last - most), -1):
            if not mask[t]:
                continue
            delta = g * (1 - h[t] ** 2) if slope else g
            before = h[t] if late else (h[t - 1] if t else np.zeros(2))
            dU += np.outer(before, delta)
            g = delta @ (U.T if turned else U)
    return dU


GRADIENTS = {
    "δ is handed on through recurrent_kernel in place of its transpose": {"turned": False},
    "the gradient of recurrent_kernel is made of h_t in place of h_(t-1)": {"late": True},
    "the activation's derivative is left out": {"slope": False},
    "nothing is handed back to the step before": {"most": 1},
    "back-propagation is truncated after 2 steps": {"most": 2},
}


@pytest.mark.parametrize("words", GRADIENTS)
@pytest.mark.usefixtures("no_entries")
def test_another_formula_of_a_gradient_is_named(words: str) -> None:
    dU = _by_steps(**GRADIENTS[words])  # type: ignore[arg-type]
    claim = LOST.claiming(output=SIMPLE.output(), gradient_of_recurrent_kernel=dU)
    assert words in diagnosis.of_claim(claim)[0]


@pytest.mark.parametrize("words", GRADIENTS)
@pytest.mark.usefixtures("no_entries")
def test_another_formula_of_a_gradient_is_named_beside_a_mask(words: str) -> None:
    run = replace(LOST, mask=[[True, True, False, True]])
    dU = _by_steps(**GRADIENTS[words], run=run)  # type: ignore[arg-type]
    claim = run.claiming(output=run.output(), gradient_of_recurrent_kernel=dU)
    assert words in diagnosis.of_claim(claim)[0]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def lstm(x: Array, h: Array, c: Array, run: Run, U: Array) -> tuple[Array, Array]:
    i, f, g, o = np.split(x @ run.kernel + h @ U + run.bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x: Array, h: Array, c: Array, run: Run, U: Array) -> tuple[Array, Array]:
    zrh = np.split(x @ run.kernel + run.bias[0], 3, axis=-1)
    own = np.split(h @ U + run.bias[1], 3, axis=-1)
    z, r = sigmoid(zrh[0] + own[0]), sigmoid(zrh[1] + own[1])
    return z * h + (1 - z) * np.tanh(zrh[2] + r * own[2]), c


@pytest.mark.parametrize(("run", "step"), [(LSTM, lstm), (GRU, gru)])
@pytest.mark.usefixtures("no_entries")
def test_a_gradient_of_a_layer_with_gates_that_ends_at_each_step_is_named(
    run: Run, step: Any
) -> None:
    """dU of each step alone, the states before it held: by the complex step."""
    cotangent, U = _matrix(3, 2, 5)[None], run.recurrent_kernel
    h, c, dU = np.zeros(2), np.zeros(2), np.zeros(U.shape)
    for t in range(3):
        for at in np.ndindex(U.shape):
            moved = U.astype(complex)
            moved[at] += 1e-30j
            found, _ = step(run.x[0, t], h, c, run, moved)
            dU[at] += (cotangent[0, t] * found).sum().imag / 1e-30
        h, c = step(run.x[0, t], h, c, run, U)
    run = replace(run, cotangent=cotangent)
    claim = run.claiming(output=run.output(), gradient_of_recurrent_kernel=dU)
    assert "nothing is handed back to the step before" in diagnosis.of_claim(claim)[0]


@pytest.mark.parametrize("kind", [SIMPLE, LSTM, GRU])
@pytest.mark.parametrize("options", ["", "go_backwards = true\n"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_way_back_that_is_altered_is_the_right_one_unaltered(
    kind: Run, options: str, masked: bool
) -> None:
    T = kind.x.shape[1]
    mask = [[True, False, True, True][:T]] if masked else None
    run = replace(kind, cotangent=_matrix(T, 2, 5)[None], mask=mask, options=options)
    truth = Truth(run.claim, "float64")
    found = {most: backwards._Way(most=most).gradients(truth) for most in (0, T)}
    for path in ("kernel", "recurrent_kernel", "bias", "x"):
        value, bound = truth.gradient(path)
        for each in found.values():
            assert (np.abs(each[path] - value) <= bound).all(), path


def test_the_right_formula_of_a_gradient_differs_in_nothing() -> None:
    value, bound = Truth(LOST.claim, "float64").gradient("recurrent_kernel")
    assert (np.abs(_by_steps() - value) <= bound).all()
    wrong = _by_steps(turned=False)
    assert (np.abs(wrong - value) > bound).any()


@pytest.mark.long
def test_a_gradient_that_was_clipped_is_named() -> None:
    dx = LOST.gradient("x")
    most = round(float(np.median(np.abs(dx))), 2)
    claim = LOST.claiming(gradient_of_x=np.clip(dx, -most, most))
    assert diagnosis.of_claim(claim)[0] == [f"gradients are clipped at {most:g}"]


TARGET = np.round(_matrix(4, 2, 6)[None], 2)


@pytest.mark.parametrize(
    ("words", "factor"),
    [
        ("the loss is a sum in place of a mean", 8),
        ("the loss is half the sum in place of a mean", 4),
        ("the loss is half the mean", 0.5),
        ("the loss is a sum over the units, and a mean of the rest", 2),
        ("the sign of the loss is changed", -1),
    ],
)
@pytest.mark.usefixtures("no_entries")
def test_a_loss_that_is_no_mean_is_named(words: str, factor: float) -> None:
    loss = factor * ((SIMPLE.output() - TARGET) ** 2).mean()
    text = SIMPLE.text(f'[loss]\nkind = "mse"\ntarget = {TARGET.tolist()}\n' + expecting(loss=loss))
    assert words in diagnosis.of_claim(files.loads(text))[0]


@pytest.mark.long
def test_a_cross_entropy_of_another_base_or_sum_is_named() -> None:
    honest = """
    schema = 1
    title = "t"
    source = { document = "a test" }
    reading = { computed_in = "real" }
    layers = [
        { kind = "SimpleRNN", units = 2, return_sequences = true },
        { kind = "Dense", units = 3, activation = "softmax" },
    ]
    [weights]
    simple_rnn.kernel = [[0.3, -0.5]]
    simple_rnn.recurrent_kernel = [[0.2, 0.1], [0.4, -0.6]]
    simple_rnn.bias = [0, 0.1]
    dense = { kernel = [[0.5, -0.25, 0.75], [1, 0.5, -1]], bias = [0, 0.5, 0.25] }
    [input]
    x = [[[1], [2]]]
    [loss]
    kind = "categorical_crossentropy"
    target = [[[1, 0, 0], [0, 0, 1]]]
    [[expect]]
    what = "loss"
    from = "a test"
    value = VALUE
    """
    claim = files.loads(honest.replace("VALUE", "0.0"))
    right = float(Truth(claim, "real").loss.value)
    for words, factor in (
        ("the loss is a sum in place of a mean", 2.0),
        ("the loss is of logarithms to the base 2", 1 / np.log(2)),
        ("the loss is of logarithms to the base 10", 1 / np.log(10)),
    ):
        claim = files.loads(honest.replace("VALUE", f"{right * factor:.9f}"))
        assert words in diagnosis.of_claim(claim)[0]
    wrong = {
        "dense.bias is dropped": ("bias = [0, 0.5, 0.25]", "bias = [0, 0, 0]"),
        "dense.bias is doubled": ("bias = [0, 0.5, 0.25]", "bias = [0, 1, 0.5]"),
        "the activation of dense is sigmoid": ('"softmax"', '"sigmoid"'),
        "dense.kernel[1][2] is 1 in place of -1": ("0.5, -1]", "0.5, 1]"),
    }
    for words, (old, new) in wrong.items():
        whole = honest.replace('what = "loss"', 'what = "output"')
        zeros = [[[0.0] * 3] * 2]
        mistaken = files.loads(whole.replace(old, new).replace("VALUE", str(zeros)))
        made = _printed(Truth(mistaken, "real").output.value, 8)
        assert words in diagnosis.of_claim(files.loads(whole.replace("VALUE", made)))[0]


TWO = """
schema = 1
title = "t"
source = { document = "a test" }
reading = { computed_in = "real" }
[layer]
kind = "Bidirectional"
layer = { kind = "SimpleRNN", units = 1, return_sequences = true }
[weights]
forward = { kernel = [[0.5]], recurrent_kernel = [[0.25]], bias = [0.1] }
backward = { kernel = [[-0.7]], recurrent_kernel = [[0.6]], bias = [0.2] }
[input]
x = [[[1], [0.5], [-2]]]
initial_state = [[[0.5]], [[-0.3]]]
[[expect]]
what = "output"
from = "a test"
value = VALUE
"""


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("the directions of bidirectional are exchanged",
         lambda text: text.replace("forward =", "other =").replace("backward =", "forward =")
         .replace("other =", "backward =")),
        ("each direction starts from the initial state of the other",
         lambda text: text.replace("[[[0.5]], [[-0.3]]]", "[[[-0.3]], [[0.5]]]")),
        ("time is reversed",
         lambda text: text.replace("[[[1], [0.5], [-2]]]", "[[[-2], [0.5], [1]]]")),
        ("bias is dropped, in every recurrence",
         lambda text: text.replace("[0.1]", "[0]").replace("[0.2]", "[0]")),
        ("bias is dropped in bidirectional.backward", lambda text: text.replace("[0.2]", "[0]")),
        ("initial state is ignored, in every recurrence",
         lambda text: text.replace("[[[0.5]], [[-0.3]]]", "[[[0]], [[0]]]")),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_entries")
def test_a_mistake_with_two_directions_is_named(words: str, change: Callable[[str], str]) -> None:
    zeros = str([[[0.0, 0.0]] * 3])
    mistaken = files.loads(change(TWO).replace("VALUE", zeros))
    made = _printed(Truth(mistaken, "real").output.value, 8)
    assert words in diagnosis.of_claim(files.loads(TWO.replace("VALUE", made)))[0]


@pytest.mark.long
def test_of_what_no_change_explains_nothing_is_named() -> None:
    """One number of eight that nobody computed, and eight that nobody did."""
    output = SIMPLE.output()
    output[0, 1, 1] += 0.25
    found, why = diagnosis.of_claim(SIMPLE.claiming(output=output))
    assert found == []
    assert why == f"{diagnosis.NO_CAUSE}; 1 of 8 differ"
    rng = np.random.default_rng(0)
    for _ in range(2):
        drawn = rng.uniform(-1, 1, output.shape)
        assert diagnosis.of_claim(SIMPLE.claiming(output=drawn)) == ([], diagnosis.NO_CAUSE)


@pytest.mark.parametrize("digits", [1, 2, 3])
@pytest.mark.parametrize("timesteps", sampled([1, 2, 4], 3))
def test_of_numbers_that_were_drawn_no_cause_is_named(timesteps: int, digits: int) -> None:
    """By chance as well, of a few digits and a few steps, where nearly everything fits."""
    rng, run = np.random.default_rng([timesteps, digits]), Run.of(T=timesteps)
    for _ in range(3):
        drawn = np.clip(run.output() + rng.uniform(-0.5, 0.5, (1, timesteps, 2)), -1, 1)
        assert diagnosis.of_claim(run.claiming(digits, output=drawn))[0] == []


def test_of_one_printed_digit_nothing_is_named() -> None:
    one = replace(SIMPLE, x=SIMPLE.x[:, :1])
    claim = replace(one, recurrent_kernel=[[0.1, 0.2], [0.3, 0.4]]).claiming(
        1, output=[[[0.9, 0.1]]]
    )
    assert diagnosis.of_claim(claim) == ([], diagnosis.TOO_LITTLE)


@pytest.mark.usefixtures("no_entries")
def test_a_correction_of_what_differs_is_another_word() -> None:
    """It cannot hold beside what it corrects, and is asked to hold with no cause."""
    honest, mistaken = IN_WEIGHTS["bias is doubled"]
    both = expecting(output=mistaken.output()) + expecting(output=honest.output())
    found, _ = diagnosis.of_claim(files.loads(honest.text(both)))
    assert found == ["bias is doubled"]


@pytest.mark.long
def test_a_number_that_is_right_has_to_stay_right() -> None:
    """The bias is doubled in the output alone, and not in the gradient that agrees."""
    honest, mistaken = IN_WEIGHTS["bias is doubled"]
    both = replace(honest, cotangent=COTANGENT)
    claim = both.claiming(output=mistaken.output(), gradient_of_kernel=both.gradient("kernel"))
    assert diagnosis.of_claim(claim)[0] == []


@pytest.mark.parametrize(
    ("words", "back"),
    [
        ("recurrent_kernel is transposed",
         lambda g: {**g, "recurrent_kernel": g["recurrent_kernel"].T}),
        ("rows of recurrent_kernel are permuted",
         lambda g: {**g, "recurrent_kernel": g["recurrent_kernel"][::-1]}),
        ("kernel and recurrent_kernel are exchanged",
         lambda g: {**g, "kernel": g["recurrent_kernel"], "recurrent_kernel": g["kernel"]}),
        ("bias is doubled", lambda g: {**g, "bias": 2 * g["bias"]}),
        ("kernel is dropped", lambda g: {**g, "kernel": 0 * g["kernel"]}),
        ("time is reversed", lambda g: {**g, "x": g["x"][:, ::-1]}),
        ("features are permuted", lambda g: {**g, "kernel": g["kernel"][::-1]}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of_given", [True, False])
@pytest.mark.usefixtures("no_entries")
def test_gradients_are_of_the_arrays_as_given_or_as_changed(
    words: str, back: Callable[[dict[str, Array]], dict[str, Array]], of_given: bool
) -> None:
    """The chain rule of a program that makes the mistake itself, and that of one it is made for."""
    honest, mistaken = (
        replace(run, cotangent=COTANGENT) for run in {**IN_WEIGHTS, **IN_INPUT}[words]
    )
    found = {of: mistaken.gradient(of) for of in ("kernel", "recurrent_kernel", "bias", "x")}
    found = back(found) if of_given else found
    claim = honest.claiming(
        output=mistaken.output(), **{f"gradient_of_{of}": array for of, array in found.items()}
    )
    assert words in diagnosis.of_claim(claim)[0]


def observed(run: Run) -> Answer:
    """What a framework says that computes with a mistake, and keeps the weights it is given."""
    output = run.output().astype(np.float32)
    told = {"output": output, "states": output, "last_state": output[:, -1]}
    weights = {"kernel": SIMPLE.kernel, "recurrent_kernel": SIMPLE.recurrent_kernel}
    own = {n: a.astype(np.float32) for n, a in {**weights, "bias": SIMPLE.bias}.items()}
    return Answer({**told, "weights": {"simple_rnn": own}})


@pytest.mark.parametrize(
    "words",
    ["recurrent_kernel is transposed", "bias is doubled", "kernel is transposed",
     "activation is linear", "time is reversed", "features are permuted"],
)  # fmt: skip
@pytest.mark.usefixtures("no_entries")
def test_the_mistake_of_a_framework_is_named(words: str) -> None:
    honest, mistaken = {**IN_WEIGHTS, **IN_OPTIONS, **IN_INPUT}[words]
    claim = honest.claiming(output=honest.output())
    found, why = diagnosis.of_subject(claim, observed(mistaken), "float32")
    assert words in found, why


def test_steps_that_a_framework_shows_in_reverse_are_named() -> None:
    claim, answer = SIMPLE.claiming(output=SIMPLE.output()), observed(SIMPLE)
    assert answer.observed is not None
    for name in ("output", "states"):
        answer.observed[name] = answer.observed[name][:, ::-1]
    found, _ = diagnosis.of_subject(claim, answer, "float32")
    assert found == ["the steps are shown in reverse"]


COUNT = """
schema = 1
title = "t"
source = {{ document = "a test" }}
layer = {{ kind = "{0}", units = {1} }}
input = {{ shape = {2} }}
[[expect]]
what = "parameters"
from = "a test"
value = {3}
"""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("SimpleRNN", 4, [20, 1], 100), "features are 20, the number of timesteps"),
        (("SimpleRNN", 50, [50, 1], 150),
         "one number a unit is counted for each of kernel, recurrent_kernel and bias: 3·50"),
        (("GRU", 7, [4, 2], 210), "reset_after is false"),
        (("SimpleRNN", 4, [20, 1], 20), "biases are not counted"),
        (("LSTM", 3, [4, 2], 18), "one gate is counted alone"),
        (("SimpleRNN", 4, [3, 2], 12), "recurrent_kernel is not counted"),
        (("SimpleRNN", 4, [3, 2], 16), "only the recurrent kernel is counted"),
        (("SimpleRNN", 4, [3, 2], 44), "recurrent_kernel is counted twice"),
        (("SimpleRNN", 4, [3, 2], 32), "biases are counted twice"),
        (("SimpleRNN", 4, [3, 2], 44), "features are 6, timesteps times features"),
        (("LSTM", 3, [4, 2], 54), "a gate is counted less"),
        (("GRU", 3, [4, 2], 84), "a gate is counted more"),
    ],
)  # fmt: skip
def test_another_way_to_count_is_named(given: tuple[Any, ...], words: str) -> None:
    claim = files.loads(COUNT.format(*given))
    (e,) = claim.expectations
    assert isinstance(e, Counted)
    assert words in diagnosis.of_count(claim, e)[0]


def test_of_a_count_that_no_formula_gives_nothing_is_named() -> None:
    for value in (3, 17, 1001):  # 3 is one number a unit, of one unit: so small that many are
        claim = files.loads(COUNT.format("SimpleRNN", 1, [3, 2], value))
        (e,) = claim.expectations
        assert isinstance(e, Counted)
        assert diagnosis.of_count(claim, e) == ([], diagnosis.NO_CAUSE)


# --- what others published ------------------------------------------------------------------------


@pytest.mark.long
def test_a_softmax_that_somebody_computed_with_one_wrong_sign() -> None:
    """Cut off at some places, rounded at others; beside it a reader's correction."""
    text = """
    schema = 1
    title = "t"
    source = { document = "a test" }
    reading = { computed_in = "hand" }
    layers = [
        { kind = "SimpleRNN", units = 2, activation = "relu", return_sequences = true },
        { kind = "Dense", units = 4, activation = "softmax" },
    ]
    [weights.simple_rnn]
    kernel = [[1, 1], [2, 0], [0.5, 1]]
    recurrent_kernel = [[0, 1], [1, 0]]
    bias = [0, 0]
    [weights.dense]
    kernel = [[0, 1, 0, 0], [1, 0, 0.3333333333333333, 1]]
    bias = [0, 0, 0, 0]
    [input]
    x = [[[1, 0, 0], [1, 1, 2], [1, -1, 1]]]
    """
    for timestep, row in (
        (0, "0.37, 0.37, 0.19, 0.05"),
        (1, "0.26, 0.71, 0.01, 0.00"),
        (2, "0.96, 0.02, 0.01, 0.00"),
        (0, "0.28, 0.28, 0.15, 0.28"),
    ):
        text += (
            f'[[expect]]\nwhat = "output"\nat = {{ timestep = {timestep} }}\n'
            f'value = [[{row}]]\nfrom = "printed"\n'
        )
    found, _ = diagnosis.of_claim(files.loads(text))
    assert (
        "dense.kernel[1][3] is -1 in place of 1, and each number may be off by a whole unit of its "
        "last digit"
    ) in found


def test_one_bias_that_somebody_took_twice() -> None:
    """In place of b_ih + b_hh, of which the claim holds the second alone."""
    run = Run(
        reading='weights = "rounded"\nlayout = "W·x"',
        kernel=[[0.3643, -0.3121, -0.1371, 0.3319, -0.6657],
                [0.4241, -0.1455, 0.3597, 0.0983, -0.0866]],
        recurrent_kernel=[[0.1961, 0.0349], [0.2583, -0.2756]],
        bias=[0.1025, -0.0028],
        second=[0.1025, -0.0028],
        x=[[[n] * 5 for n in (1, 2, 3)]],
    )  # fmt: skip
    stated = [[-0.3519801, 0.52525216], [-0.68424344, 0.76074266], [-0.8649416, 0.90466356]]
    found, _ = diagnosis.of_claim(run.claiming(8, output=[stated]))
    assert found == ["bias is off by a constant: [-0.154, -0.061] more"]


# --- what a run says ------------------------------------------------------------------------------


def judged(claims: list[Claim]) -> list[Verdict]:
    """The verdicts on a subject that computes right."""
    setting = Setting()
    verdicts = Verdicts(claims, Known([]))
    for claim in claims:
        verdicts.add(Asked(0, claim, observed(SIMPLE), setting))
    return list(verdicts.judged(0, Observations(setting, IDENTITY, {})).verdicts)


IDENTITY = Identity(backend="numpy", keras="3.15.1", backend_version="2.4.6", python="3.11.7")


def test_every_number_of_a_claim_that_differs_has_the_cause() -> None:
    """And those that agree, or are known to differ, have none: nobody looked for it."""
    wrong = replace(SIMPLE, bias=2 * SIMPLE.bias).output()
    text = SIMPLE.text(expecting(output=wrong, states=wrong) + expecting(last_state=wrong[:, -1]))
    text = text.replace("return_sequences = true", "return_sequences = true\nreturn_state = true")
    right, *_ = judged([SIMPLE.claiming(output=SIMPLE.output())])
    assert (right.verdict, right.causes, right.no_cause) == ("agree", (), "")
    output, states, last = judged([files.loads(text.replace(
        '[[expect]]\nwhat = "last_state"', '[[expect]]\nknown_to_differ = "so"\nwhat = "last_state"'
    ))])  # fmt: skip
    assert output.causes == states.causes == ("bias is doubled",)
    assert last.is_known and last.causes == ()


@pytest.mark.long
@pytest.mark.usefixtures("no_entries")
def test_where_many_claims_differ_the_first_are_asked_for_a_cause() -> None:
    wrong = replace(SIMPLE, bias=2 * SIMPLE.bias).output()
    claims = [SIMPLE.claiming(output=wrong) for _ in range(MOST_DIAGNOSED + 2)]
    found = [verdict.causes for verdict in judged(claims)]
    assert found == [("bias is doubled",)] * MOST_DIAGNOSED + [()] * 2


def test_a_fault_of_the_diagnosis_costs_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(claim: Claim) -> Any:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(diagnosis.experiments, "causes", broken)
    found, why = diagnosis.of_claim(SIMPLE.claiming(output=0 * SIMPLE.output()))
    assert found == [] and "a fault of rnn_check's own" in why and "planted" in why
