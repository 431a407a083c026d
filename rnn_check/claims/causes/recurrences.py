"""What mistakes are made with one recurrence?

Sizes: B samples, T timesteps, F features, H units of G gates.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims import gates, stack
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Carrying
from rnn_check.claims.layers.cells import Gated, Recurrence
from rnn_check.claims.written import Array, Given
from rnn_check.recurrences import gated, over_time


@dataclass(frozen=True)
class Ran:
    """One recurrence as it is run, in the order in which it takes the steps.

    x (B,T,F), kernel (F,GH), bias (GH,) or (2,GH), starts (B,H) each, none if they are zeros.
    second: the bias that the author wrote beside another, and that is part of `bias`.
    """

    part: Recurrence
    x: Given
    kernel: Given
    recurrent_kernel: Given
    bias: Given | None
    second: Given | None
    starts: tuple[Given, ...]
    mask: Array | None

    def states(self, timesteps: int | None = None) -> Array:
        """(B,T,H) in float32; the first of them, or all."""
        x, mask = self.x.value, self.mask
        if timesteps is not None:
            x, mask = x[:, :timesteps], None if mask is None else mask[:, :timesteps]
        bias = None if self.bias is None else self.bias.value
        given: tuple[Any, ...] = (x, self.kernel.value, self.recurrent_kernel.value, bias)
        starts = tuple(start.value for start in self.starts)
        how: dict[str, Any] = {"activation": self.part.function, "mask": mask}
        with np.errstate(all="ignore"):
            if isinstance(self.part, Gated):
                how["recurrent_activation"] = self.part.gate_function
                how["initial_state"] = starts or None
                found = gated.forward(self.part.recurrence, *given, **how).states["h"]
            else:
                how["initial_state"] = starts[0] if starts else None
                found = over_time.forward(*given, **how)[0]
            return found.astype(np.float32)

    def is_as(self, other: Ran) -> bool:
        """Whether all its numbers are the same."""
        mine, its = list(self._arrays()), list(other._arrays())
        return self.part == other.part and all(
            np.array_equal(a, b, equal_nan=True) if a is not None and b is not None else a is b
            for a, b in zip(mine, its, strict=True)
        )

    def _arrays(self) -> Iterator[Array | None]:
        given = (self.x, self.kernel, self.recurrent_kernel, self.bias, *self.starts)
        yield from (None if each is None else each.value for each in given)
        yield self.mask

    def each_of_gates(self, change: Callable[[Given], Given]) -> Ran:
        """The same change to all that holds a column of each unit of each gate."""
        bias = None if self.bias is None else change(self.bias)
        kernels = change(self.kernel), change(self.recurrent_kernel)
        return dataclasses.replace(
            self, kernel=kernels[0], recurrent_kernel=kernels[1], bias=bias, second=None
        )


Change = Callable[[Ran], Iterator[tuple[str, Ran]]]  # (what is so, the recurrence of which it is)


@dataclass(frozen=True)
class Mistake:
    """One entry of the table.

    change: yields nothing where it does not apply. alike: why it may change nothing. planted:
    whether `sensitivity` asks if a claim notices it.
    """

    name: str
    change: Change
    alike: str = ""
    planted: bool = False


def ran(claim: Experiment, layer: Carrying, index: int) -> Ran:
    """One recurrence of a layer as the claim runs it; the index is that of `layer.recurrences`."""
    assert claim.weights is not None
    prefix, part = layer.recurrences[index]
    fed = stack.fed(claim, layer, index)
    own = claim.weights[layer.name]
    return Ran(
        part=part,
        x=Given.exactly(fed.x),
        kernel=own[f"{prefix}kernel"],
        recurrent_kernel=own[f"{prefix}recurrent_kernel"],
        bias=own.get(f"{prefix}bias"),
        second=claim.second_biases.get(layer.name, {}).get(f"{prefix}bias"),
        starts=tuple(map(Given.exactly, fed.starts)),
        mask=fed.mask,
    )


# --- the changes ----------------------------------------------------------------------------------


def _columns(index: Array) -> Callable[[Given], Given]:
    return lambda given: given.each(lambda part: part[..., index])


def _scaled(factors: Array) -> Callable[[Given], Given]:
    return lambda given: given.times(factors)


def _turned(given: Given, parts: int) -> Given:
    """Each gate's matrix transposed."""
    return Given.beside([part.transposed() for part in given.split(parts)])


def _rolled(given: Given) -> Given:
    return given.each(lambda part: np.roll(part, 1, axis=0))


def _kernel_dropped(run: Ran) -> Iterator[tuple[str, Ran]]:
    yield "kernel is dropped", dataclasses.replace(run, kernel=run.kernel.times(0))


def _recurrent_kernel_dropped(run: Ran) -> Iterator[tuple[str, Ran]]:
    nothing = run.recurrent_kernel.times(0)
    yield "recurrent_kernel is dropped", dataclasses.replace(run, recurrent_kernel=nothing)


def _recurrent_kernel_transposed(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.part.units > 1:
        turned = _turned(run.recurrent_kernel, run.part.gates)
        yield "recurrent_kernel is transposed", dataclasses.replace(run, recurrent_kernel=turned)


def _rows_permuted(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.part.units > 1:
        rolled = _rolled(run.recurrent_kernel)
        words = "rows of recurrent_kernel are permuted"
        yield words, dataclasses.replace(run, recurrent_kernel=rolled)


def _features_permuted(run: Ran) -> Iterator[tuple[str, Ran]]:
    if len(run.kernel.value) > 1:
        yield "features are permuted", dataclasses.replace(run, kernel=_rolled(run.kernel))


def _kernel_transposed(run: Ran) -> Iterator[tuple[str, Ran]]:
    if len(run.kernel.value) == run.part.units > 1:
        turned = _turned(run.kernel, run.part.gates)
        yield "kernel is transposed", dataclasses.replace(run, kernel=turned)


def _kernels_exchanged(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.kernel.shape == run.recurrent_kernel.shape:
        exchanged = dataclasses.replace(
            run, kernel=run.recurrent_kernel, recurrent_kernel=run.kernel
        )
        yield "kernel and recurrent_kernel are exchanged", exchanged


def _bias_dropped(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.bias is not None:
        yield "bias is dropped", dataclasses.replace(run, bias=run.bias.times(0))


def _bias_doubled(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.bias is not None:
        yield "bias is doubled", dataclasses.replace(run, bias=run.bias.times(2))


def _other_bias(run: Ran) -> Iterator[tuple[str, Ran]]:
    """Of two: one alone, one in the place of both."""
    if run.bias is None:
        return
    if run.second is not None:
        second = run.second
        first = run.bias.plus(second.times(-1))
        pairs = {
            "recurrent_bias is dropped": first,
            "recurrent_bias is the only bias": second,
            "bias is added twice, recurrent_bias is not": first.times(2),
            "recurrent_bias is added twice, bias is not": second.times(2),
        }
        for words, bias in pairs.items():
            yield words, dataclasses.replace(run, bias=bias, second=None)
    elif run.bias.value.ndim == 2:
        rows = [run.bias.each(lambda part, i=i: part[i]) for i in (0, 1)]  # type: ignore[misc]
        nothing = rows[0].times(0)
        stacked = {
            "the first row of bias is dropped": [nothing, rows[1]],
            "the second row of bias is dropped": [rows[0], nothing],
            "the rows of bias are exchanged": rows[::-1],
        }
        for words, pair in stacked.items():
            yield words, dataclasses.replace(run, bias=Given.stacked(pair))


def _time_reversed(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.x.shape[1] > 1:
        mask = None if run.mask is None else run.mask[:, ::-1]
        x = run.x.each(lambda part: part[:, ::-1])
        yield "time is reversed", dataclasses.replace(run, x=x, mask=mask)


def _reversed_among_unmasked(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.mask is None:
        return
    order = unmasked_reversed(run.mask)
    x = run.x.each(lambda part: np.take_along_axis(part, order[:, :, None], axis=1))
    yield "time is reversed among the steps that are not masked", dataclasses.replace(run, x=x)


def unmasked_reversed(mask: Array) -> Array:
    """(B,T): which step stands where, if those that count are reversed among each other."""
    order = np.tile(np.arange(mask.shape[1]), (len(mask), 1))
    for row, counts in zip(order, mask, strict=True):
        row[counts] = row[counts][::-1]
    return order


def _start_ignored(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.starts:
        starts = tuple(start.times(0) for start in run.starts)
        yield "initial state is ignored", dataclasses.replace(run, starts=starts)


def _starts_exchanged(run: Ran) -> Iterator[tuple[str, Ran]]:
    if len(run.starts) > 1:
        words = "the initial states h and c are exchanged"
        yield words, dataclasses.replace(run, starts=run.starts[::-1])


def _mask_ignored(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.mask is not None:
        yield "mask is ignored", dataclasses.replace(run, mask=np.ones_like(run.mask))


def _mask_inverted(run: Ran) -> Iterator[tuple[str, Ran]]:
    if run.mask is not None:
        yield "the mask is inverted", dataclasses.replace(run, mask=~run.mask)


def with_options(run: Ran, **options: Any) -> Ran:
    return dataclasses.replace(run, part=msgspec.structs.replace(run.part, **options))


def _activation(run: Ran) -> Iterator[tuple[str, Ran]]:
    other = "tanh" if run.part.function == "linear" else "linear"
    yield f"activation is {other}", with_options(run, activation=other)


_OTHERS = (
    "tanh", "sigmoid", "relu", "hard_sigmoid", "hard_tanh", "relu6", "softsign", "elu", "softplus",
    "leaky_relu", "exponential",
)  # fmt: skip


def _other_activation(run: Ran) -> Iterator[tuple[str, Ran]]:
    for other in _OTHERS:
        if other != run.part.function and (run.part.function, other) != ("linear", "tanh"):
            yield f"activation is {other}", with_options(run, activation=other)


def _gate_activation(run: Ran) -> Iterator[tuple[str, Ran]]:
    if isinstance(run.part, Gated):
        for other in ("hard_sigmoid", "sigmoid", "tanh", "linear"):
            if other != run.part.gate_function:
                words = f"recurrent_activation is {other}"
                yield words, with_options(run, recurrent_activation=other)


def _planted_pairs(letters: gates.Letters) -> list[tuple[str, str]]:
    """Of gates, without the candidate."""
    return [*itertools.combinations(letters.order.replace(letters.candidate, ""), 2)]


def _exchanged(run: Ran, pairs: list[tuple[str, str]]) -> Iterator[tuple[str, Ran]]:
    order = run.part.letters.order
    for one, other in pairs:
        columns = np.arange(len(order) * run.part.units).reshape(len(order), -1)
        at = [order.index(one), order.index(other)]
        columns[at] = columns[at[::-1]]
        changed = run.each_of_gates(_columns(columns.ravel()))
        yield f"gates {one} and {other} are exchanged", changed


def _gates_exchanged(run: Ran) -> Iterator[tuple[str, Ran]]:
    yield from _exchanged(run, _planted_pairs(run.part.letters))


def _others_exchanged(run: Ran) -> Iterator[tuple[str, Ran]]:
    planted = _planted_pairs(run.part.letters)
    every = itertools.combinations(run.part.letters.order, 2)
    yield from _exchanged(run, [pair for pair in every if pair not in planted])


def _forget_bias(run: Ran) -> Iterator[tuple[str, Ran]]:
    letters = run.part.letters
    if not letters.forget or run.bias is None:
        return
    is_forget = letters.columns(letters.forget, run.part.units)
    one = Given.exactly(is_forget)
    for words, bias in (
        ("1 is added to the bias of the forget gate", run.bias.plus(one)),
        ("the bias of the forget gate is less by 1", run.bias.plus(one.times(-1))),
        ("the bias of the forget gate is dropped", run.bias.times(1.0 - is_forget)),
        ("the bias of the forget gate is doubled", run.bias.times(1.0 + is_forget)),
    ):
        yield words, dataclasses.replace(run, bias=bias)


def _reset(run: Ran) -> Iterator[tuple[str, Ran]]:
    if not hasattr(run.part, "reset_after"):
        return
    bias = run.bias
    if run.part.option("reset_after"):
        if bias is not None:
            rows = [bias.each(lambda part, i=i: part[i]) for i in (0, 1)]  # type: ignore[misc]
            bias = rows[0].plus(rows[1])
        before = with_options(dataclasses.replace(run, bias=bias), reset_after=False)
        yield "the reset gate is applied before the product (reset_after = false)", before
    else:
        if bias is not None:
            bias = Given.stacked([bias, bias.times(0)])
        after = with_options(dataclasses.replace(run, bias=bias), reset_after=True)
        yield "the reset gate is applied after the product (reset_after = true)", after


def _update_mirrored(run: Ran) -> Iterator[tuple[str, Ran]]:
    letters = run.part.letters
    mirrored = isinstance(run.part, Gated) and run.part.gate_function in gates.MIRRORED
    if mirrored and letters.update:
        sign = 1.0 - 2.0 * letters.columns(letters.update, run.part.units)
        words = "z and 1 - z are exchanged (z weighs the candidate)"
        yield words, run.each_of_gates(_scaled(sign))


MISTAKES: tuple[Mistake, ...] = (
    Mistake("kernel dropped", _kernel_dropped, "it is zero", planted=True),
    Mistake("recurrent kernel dropped", _recurrent_kernel_dropped, "it is zero", planted=True),
    Mistake("recurrent kernel transposed", _recurrent_kernel_transposed, "it is symmetric",
            planted=True),
    Mistake("rows permuted", _rows_permuted, "they are alike", planted=True),
    Mistake("features permuted", _features_permuted, "their weights are alike", planted=True),
    Mistake("kernel transposed", _kernel_transposed, "it is symmetric", planted=True),
    Mistake("kernels exchanged", _kernels_exchanged, "they are equal", planted=True),
    Mistake("bias dropped", _bias_dropped, "it is zero", planted=True),
    Mistake("bias doubled", _bias_doubled, "it is zero", planted=True),
    Mistake("the other of two biases", _other_bias),
    Mistake("time reversed", _time_reversed, "x reads the same in reverse", planted=True),
    Mistake("reversed among unmasked steps", _reversed_among_unmasked),
    Mistake("initial state zero", _start_ignored, "it is zero", planted=True),
    Mistake("initial states exchanged", _starts_exchanged),
    Mistake("mask ignored", _mask_ignored, "it skips no step", planted=True),
    Mistake("mask inverted", _mask_inverted),
    Mistake("no activation", _activation, planted=True),
    Mistake("another activation", _other_activation),
    Mistake("another activation of gates", _gate_activation),
    Mistake("gates exchanged", _gates_exchanged, "their weights are alike", planted=True),
    Mistake("gate and candidate exchanged", _others_exchanged),
    Mistake("forget bias", _forget_bias),
    Mistake("reset before for after", _reset),
    Mistake("z for 1 - z", _update_mirrored),
)  # fmt: skip
