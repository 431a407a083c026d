"""Which layers of one request may serve another, which gives them other weights?

Layers that hold nothing but weights, all of which are given, compute the same whether they were
made for this request or for the last one: making them, tracing a model of them and compiling it is
most of what a small claim costs. Whatever else was done with them than to look, or raised, they
are not used again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

from .models import Stack, model_key
from .named import FAMILIES, cell_of, within
from .parts import named_weights
from .session import Answer, Descriptions
from .wire import Array

MOST = 32  # stacks that wait
# what layers and cells may be told, and then remember nothing, draw nothing and add no loss
KINDS = (
    *(*FAMILIES, *map(cell_of, FAMILIES), "RNN", "Bidirectional"),
    *("Dense", "Masking", "Embedding", "TimeDistributed"),
)
OPTIONS = frozenset(
    (
        *("kind", "name", "units", "activation", "use_bias", "recurrent_activation", "reset_after"),
        *("return_sequences", "return_state", "go_backwards", "unroll", "zero_output_for_mask"),
        *("implementation", "cell", "layer", "merge_mode", "mask_value"),
        *("input_dim", "output_dim", "mask_zero"),
    )
)
LOOK = ("make", "weights", "gradients", "run_shapes")  # verbs that leave layers as they are
# of runs; what evaluates leaves metrics behind
THROUGH = ("layers", "call", "cell", "predict", "predict_on_batch")


def looks(verb: str, asked: Answer) -> bool:
    """Whether the verb leaves layers that hold nothing but weights as they are."""
    if verb == "run":
        return asked.get("through", "layers") in THROUGH and asked.get("training") is None
    return verb in LOOK


def hold_weights_only(specs: Descriptions) -> bool:
    return all(spec["kind"] in KINDS and spec.keys() <= OPTIONS for spec in within(specs))


class Shelf:
    """Stacks that are to be used again. lent: those of the request that is being obeyed."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, list[Stack]] = OrderedDict()
        self._lent: list[tuple[str, Stack]] = []

    def take(self, key: str, weights: dict[str, dict[str, Array]]) -> Stack | None:
        """One that is the same but for its weights, all of which are among these."""
        waiting = self._waiting.get(key)
        if not waiting or not all_given(waiting[-1], weights):
            return None
        made = waiting.pop()
        if not waiting:
            del self._waiting[key]
        self._lent.append((key, made))
        return made

    def lend(self, key: str, made: Stack) -> None:
        """From here on it is used; it may be used again if nobody spoils it."""
        self._lent.append((key, made))

    def put_back(self) -> None:
        """After a request."""
        for key, made in self._lent:
            made.ran.clear()  # what it said is of no use to the next
            if not made.spoilt:
                self._waiting.setdefault(key, []).append(made)
                self._waiting.move_to_end(key)
        self._lent.clear()
        while sum(map(len, self._waiting.values())) > MOST:
            oldest, waiting = next(iter(self._waiting.items()))
            waiting.pop(0)
            if not waiting:
                del self._waiting[oldest]


def all_given(made: Stack, weights: dict[str, dict[str, Array]]) -> bool:
    return all(
        path in weights.get(layer.name, {})
        for layer in made.layers
        for path, _ in named_weights(layer)
    )


def key(specs: Descriptions, shape: Any, model: Any, how: Answer) -> str:
    """The same for makes that differ in weights alone. how: what holds for the whole request."""
    inputs = None if model is None else repr(model_key(model))
    return json.dumps([specs, list(shape), inputs, how], sort_keys=True)
