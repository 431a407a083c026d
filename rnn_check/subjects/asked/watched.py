"""What does each layer of a user's model take and give, while the model runs as it stands?"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any, Callable

from .cell_by_cell import SHOWING, showing, shown_of
from .finding import Place
from .parts import Tensor, Tensors, flat, states_of


class Watch:
    """The calls of these layers, in their order.

    calls: of each the index of its place. In a run with `nudges` something that is zero is added
    to whatever a layer takes and gives, so that the gradients of that can be asked for.
    """

    def __init__(self, keras: Any, places: list[Place], nudges: Tensors | None = None) -> None:
        self.keras, self.places, self.nudges = keras, places, nudges
        self.calls: list[int] = []
        self.told: list[Tensors] = []
        self._within = False

    def run(self, call: Callable[[], Any]) -> tuple[Any, list[Tensors]]:
        """What the call returns, and the tensors of each call of a layer.

        x, mask, start 0, start 1, ...; given 0, ...: all that it returned; without nudges
        state 0, ...: the last states, and shown, unless that is what it gave: all its steps
        (B,T,H), those of several cells side by side.
        """
        self.calls, self.told = [], []
        with contextlib.ExitStack() as stack:
            for index, place in enumerate(self.places):
                if not place.refused:
                    stack.enter_context(self._watched(index, place))
            return call(), self.told

    @contextlib.contextmanager
    def _watched(self, index: int, place: Place) -> Iterator[None]:
        layer, original = place.layer, place.layer.call
        was_own = "call" in vars(layer)
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._within:
                return original(*args, **kwargs)
            given = signature.bind(*args, **kwargs)
            return self._called(index, place, original, given)

        object.__setattr__(layer, "call", call)
        try:
            yield
        finally:
            if was_own:
                object.__setattr__(layer, "call", original)
            else:
                object.__delattr__(layer, "call")

    def _called(
        self, index: int, place: Place, original: Callable[..., Any], given: inspect.BoundArguments
    ) -> Any:
        layer, number = place.layer, len(self.calls)
        self.calls.append(index)
        named = given.arguments
        name = next(iter(named))
        x, *beside = flat(named[name])
        start = beside or flat(named.get("initial_state"))
        start = [] if start == [None] else start
        remembered = [] if start else [self._value(state) for state in states_of(layer)]
        if self.nudges is not None:
            x = self._nudged(number, "x", x)
            start = [self._nudged(number, f"start {i}", each) for i, each in enumerate(start)]
            named[name] = x
            if start or remembered:  # torch does not go back through what is overwritten
                named["initial_state"] = start or remembered
        tensors: Tensors = {"x": x}
        tensors.update((f"start {i}", each) for i, each in enumerate(start or remembered))
        mask = flat(named.get("mask"))[0]
        if mask is not None:
            tensors["mask"] = mask
        outputs = original(*given.args, **given.kwargs)
        told = flat(outputs)
        tensors.update((f"given {i}", each) for i, each in enumerate(told))
        self.told.append(tensors)
        if self.nudges is not None:
            told = [self._nudged(number, f"given {i}", each) for i, each in enumerate(told)]
            return type(outputs)(told) if isinstance(outputs, (list, tuple)) else told[0]
        if remembered:
            named["initial_state"] = remembered
        shown, *states = self._shown(place, original, given, start or remembered)
        if place.is_stack or not layer.return_sequences:
            tensors["shown"] = shown
        tensors.update((f"state {i}", each) for i, each in enumerate(flat(states)))
        return outputs

    def _value(self, state: Any) -> Tensor:
        """What a variable holds now, which what follows does not change."""
        return self.keras.ops.copy(state) if hasattr(self.keras, "ops") else state + 0

    def _nudged(self, number: int, name: str, tensor: Tensor) -> Tensor:
        assert self.nudges is not None
        nudge = self.nudges.get(f"{number} {name}")
        return tensor if nudge is None else tensor + nudge

    def _shown(
        self,
        place: Place,
        original: Callable[..., Any],
        given: inspect.BoundArguments,
        start: list[Tensor],
    ) -> Any:
        """The same call once more, of a layer that returns all of its steps and its states."""
        layer = place.layer
        was = {name: getattr(layer, name) for name in SHOWING}
        try:
            self._within = True
            for name, value in SHOWING.items():
                setattr(layer, name, value)
            if place.is_stack:
                named = given.arguments
                stack = showing(self.keras, place, layer.cell.cells)
                mask = flat(named.get("mask"))[0]
                return shown_of(stack, stack.call, flat(named[next(iter(named))])[0], start, mask)
            return original(*given.args, **given.kwargs)
        finally:
            self._within = False
            for name, value in was.items():
                setattr(layer, name, value)
