"""How else may parameters have been counted?

Sizes: T timesteps, F features, H units of G gates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import AnyLayer, Carrying

LEAST = 10  # a smaller count says too little: several formulas give it


def causes(run: Experiment, layers: list[AnyLayer], value: int) -> list[str]:
    """What was counted, if `value` is what is claimed of these layers' parameters.

    One formula gives one integer: of small ones nothing is said.
    """
    if run.input_shape is None or value < LEAST:
        return []
    return [words for words, count in _counts(run, layers) if count == value]


def _counts(run: Experiment, layers: list[AnyLayer]) -> Iterator[tuple[str, int]]:
    assert run.input_shape is not None
    features = run.input_shape[-1]
    shapes = {layer.name: layer.weight_shapes(run.features_of(layer)) for layer in layers}
    sizes = {
        layer: {path: math.prod(shape) for path, shape in own.items()}
        for layer, own in shapes.items()
    }
    whole = sum(sum(own.values()) for own in sizes.values())

    def of(part: str) -> int:
        return sum(n for own in sizes.values() for path, n in own.items() if path.endswith(part))

    def kernels() -> int:
        return of("kernel") - of("recurrent_kernel")

    if len(run.input_shape) == 2 and run.layers[0] in layers:
        timesteps, first = run.input_shape[0], run.layers[0]
        if timesteps != features:
            wide = sum(math.prod(shape) for shape in first.weight_shapes(timesteps).values())
            count = whole - sum(sizes[first.name].values()) + wide
            yield f"features are {timesteps}, the number of timesteps", count
        if features > 1:
            flat = first.weight_shapes(timesteps * features)
            wide = sum(math.prod(shape) for shape in flat.values())
            count = whole - sum(sizes[first.name].values()) + wide
            yield f"features are {timesteps * features}, timesteps times features", count
    yield "biases are not counted", whole - of("bias")
    yield "recurrent_kernel is not counted", whole - of("recurrent_kernel")
    yield "only the recurrent kernel is counted", of("recurrent_kernel")
    yield "kernels of the input are not counted", whole - kernels()
    yield "biases are counted twice", whole + of("bias")
    yield "recurrent_kernel is counted twice", whole + of("recurrent_kernel")
    units = gates = plain = reset = 0
    carrying = [layer for layer in layers if isinstance(layer, Carrying)]
    for each in carrying:
        for _, part in each.recurrences:
            units += part.units
            gates = max(gates, part.gates)
            width = part.units * part.gates
            plain += width
            if hasattr(part, "reset_after") and part.option("use_bias"):
                reset += -width if part.option("reset_after") else width
    if len(carrying) == len(layers):
        yield (
            f"one number a unit is counted for each of kernel, recurrent_kernel and bias: "
            f"3·{plain}",
            3 * plain,
        )
        if gates > 1:
            yield "one gate is counted alone", whole // gates
            yield "a gate is counted less", whole // gates * (gates - 1)
            yield "a gate is counted more", whole // gates * (gates + 1)
    if reset:
        other = "false" if reset < 0 else "true"
        yield f"reset_after is {other}", whole + reset
    if len(layers) > 1:
        for layer in layers:
            yield f"{layer.name} is counted alone", sum(sizes[layer.name].values())
            yield f"{layer.name} is not counted", whole - sum(sizes[layer.name].values())
