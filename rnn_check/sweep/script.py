"""How does somebody see it who has Keras, and no rnn_check?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims import stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.layers import Layer
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.subjects.asked.named import CELLS, LAYERS

OF_OUTPUTS = ("states", "output", "last state")  # what a script can show


def shows(detail: str) -> bool:
    """Whether what is wrong is seen in what the layers put out."""
    return any(words in detail for words in OF_OUTPUTS)


def script(claim: Claim, who: str, detail: str) -> str:
    """A program that runs the layers one after the other, and prints what each puts out beside what
    the recurrence gives, in float64.

    who: of which packages that was seen; detail: what was.
    """
    return "\n".join(_lines(claim, who, detail)) + "\n"


def _lines(claim: Claim, who: str, detail: str) -> Iterator[str]:
    assert claim.x is not None
    first = detail.splitlines()[0].replace("\\", "/").replace('"""', "'''")
    yield from (
        f'"""{first}',
        "",
        f"Seen of {who}.",
        '"""',
        "",
        "import keras",
        "import numpy as np",
        "",
    )
    dtype = "int32" if claim.layers[0].__class__.__name__ == "Embedding" else "float32"
    yield f"x = np.array({_numbers(claim.x.value)}, {dtype!r})"
    called = ""
    if claim.mask is not None:
        yield f"mask = np.array({claim.mask.astype(bool).tolist()})"
        called += ", mask=mask"
    starts = stack.starts(claim, formats.arithmetic("exact"))
    if starts:
        arrays = ", ".join(f"np.array({_numbers(start.value)}, 'float32')" for start in starts)
        yield f"initial_state = [{arrays}]"
        called += ", initial_state=initial_state"
    yield "h = x"
    for layer, signal in zip(claim.layers, stack.run(claim, "float64"), strict=True):
        weights = (claim.weights or {}).get(layer.name, {})
        yield from ("", f"{layer.name} = {_made(layer)}")
        own = called if layer.is_recurrent else ""
        yield f"{layer.name}(h{own})  # builds it"
        if weights:
            arrays = ", ".join(f"np.array({_numbers(each.value)})" for each in weights.values())
            yield f"{layer.name}.set_weights([{arrays}])"
        yield f"h = {layer.name}(h{own})"
        if layer.is_recurrent:
            called = ""
            if layer.returns_state:
                yield "h, *states = h"
        yield f'print("{layer.name}", keras.ops.convert_to_numpy(h))'
        yield f'print("should be", np.array({_numbers(np.asarray(signal.value))}))'


def _made(layer: Layer) -> str:
    described: dict[str, Any] = msgspec.to_builtins(layer, builtin_types=())
    return _call(described)


def _call(described: dict[str, Any]) -> str:
    given = {key: each for key, each in described.items() if key not in ("kind", "name")}
    if "name" in described:
        given["name"] = described["name"]
    options = ", ".join(f"{key}={_option(each)}" for key, each in given.items())
    return f"keras.layers.{described['kind']}({options})"


def _option(value: Any) -> str:
    if isinstance(value, dict) and value.get("kind") in {**LAYERS, **CELLS}:
        return _call(value)
    if isinstance(value, dict):
        rest = ", ".join(f"{k}={v!r}" for k, v in value.items() if k != "kind")
        return f"keras.initializers.{value['kind']}({rest})"
    if isinstance(value, list):
        return f"[{', '.join(map(_option, value))}]"
    return "None" if value == "None" else repr(value)


def _numbers(array: Array) -> str:
    """As short as they are read again."""
    return repr(np.asarray(array).tolist())
