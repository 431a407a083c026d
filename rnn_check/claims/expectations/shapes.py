"""How many weights are there, and of what shapes and dtypes is what goes in and out?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.expectations.case import Case, Said
from rnn_check.claims.expectations.expectation import (
    INPUT,
    ONE_OUTPUT,
    WEIGHTS,
    Expectation,
    Path,
    Reading,
    X,
)
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import AnyLayer
from rnn_check.numbers import formats
from rnn_check.subjects.policy import Policy

_PRINTED = r"\((?:None|[0-9]{1,9})(?:, (?:None|[0-9]{1,9})){0,7},?\)"
_COUNT = msgspec.Meta(extra_json_schema={"type": "integer", "minimum": 0})
_SHAPE = msgspec.Meta(extra_json_schema={"type": "string", "pattern": f"^{_PRINTED}$"})
_DTYPE = msgspec.Meta(extra_json_schema={"enum": list(formats.ARITHMETICS)})


def layer_said(parts: Said, name: str) -> Said:
    """What a summary says of the layer of that name."""
    for part in parts:
        if part["name"].text == name:
            return part
    return parts[name]  # raises Malformed


class Counted(Expectation, frozen=True, kw_only=True):
    """How many weights."""

    family: ClassVar[bool] = True
    of: str = ""
    value: Annotated[Any, _COUNT]

    layers = "any"
    needs = (INPUT,)
    questions = ("summary",)

    def allowed(self, run: Experiment) -> Sequence[str]:
        return ["", *run.names]

    def reads(self, reading: Reading) -> dict[str, Any]:
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < 0:
            raise reading.fail("value", f"expected a number of parameters, got {self.value!r}")
        return {}

    def spoils(self, run: Experiment) -> list[Path]:
        if self.of:
            return [("summary", "layers", str(run.names.index(self.of)), self.what)]
        return [("summary", self.what)]

    def counts(self, layer: AnyLayer) -> bool:
        """Whether the layer's weights are among those that are counted."""
        raise NotImplementedError

    def judge(self, case: Case) -> Iterator[Comparison]:
        """SimpleRNN: F·H + H·H + H.  Dense: H·O + O.  Without bias the last term is missing."""
        run = case.claim
        counted = sum(
            math.prod(shape)
            for layer in run.layers
            if self.counts(layer) and self.of in ("", layer.name)
            for shape in layer.weight_shapes(run.features_of(layer)).values()
        )
        yield equal("claim", self.what, self.value, counted)
        summary = case.said["summary"]
        part = layer_said(summary["layers"], self.of) if self.of else summary
        yield equal("subject", self.what, part[self.what].count, self.value, "claimed")


class Parameters(Counted, frozen=True, kw_only=True):
    """How many weights."""

    def counts(self, layer: AnyLayer) -> bool:
        return True


class Trainable(Counted, frozen=True, kw_only=True):
    """How many of them are trained."""

    def counts(self, layer: AnyLayer) -> bool:
        return layer.is_trainable


class NonTrainable(Counted, frozen=True, kw_only=True):
    """How many are not."""

    def counts(self, layer: AnyLayer) -> bool:
        return not layer.is_trainable


class Shaped(Expectation, frozen=True, kw_only=True):
    """A shape as printed."""

    family: ClassVar[bool] = True
    value: Annotated[Any, _SHAPE]

    def reads(self, reading: Reading) -> dict[str, Any]:
        if not isinstance(self.value, str) or not re.fullmatch(_PRINTED, self.value):
            problem = f'expected a shape as printed, "(None, 3)", got {self.value!r}'
            raise reading.fail("value", problem)
        return {}


class OutputShape(Shaped, frozen=True, kw_only=True):
    """`"(None, 3)"` by `summary`, `"(1, 3)"` of what was returned."""

    of: str = ""

    layers = "any"
    needs = (INPUT,)

    def allowed(self, run: Experiment) -> Sequence[str]:
        return ["", *run.names] if len(run.layers) == 1 else run.names

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if self.of in ("", run.names[-1]) and not ONE_OUTPUT.there(run):
            yield ONE_OUTPUT.what

    @property
    def by_summary(self) -> bool:
        return str(self.value).startswith("(None")

    def asks(self, run: Experiment) -> set[str]:
        if self.by_summary:
            return {"summary"}
        return {"outputs"} if run.is_stack else {"output"}

    def spoils(self, run: Experiment) -> list[Path]:
        if not self.by_summary:
            return []
        at = run.names.index(self.of) if self.of else len(run.names) - 1
        return [("summary", "layers", str(at), "output_shape", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        run = case.claim
        assert run.input_shape is not None
        at = run.names.index(self.of or run.names[-1])
        batch = None if self.by_summary or run.x is None else run.x.shape[0]
        shape = (batch, *run.shape_after(at, run.input_shape))
        yield equal("claim", self.what, self.value, printed(shape))
        got: Iterable[int | None]
        if self.by_summary:
            said = layer_said(case.said["summary"]["layers"], run.names[at])
            got = said["output_shape"].sizes
        elif run.is_stack:
            got = case.said["outputs"]["layers"][at].array.shape
        else:
            got = case.said["output"].array.shape
        yield equal("subject", self.what, printed(got), self.value, "claimed")


class InputShape(Shaped, frozen=True, kw_only=True):
    """`"(1, 3, 2)"`: of `x`, batch included."""

    layers = "any"
    needs = (X,)

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield equal("claim", self.what, self.value, printed(case.x.shape))


class WeightShape(Shaped, frozen=True, kw_only=True):
    """`"(2, 3)"`: of a layer that is made and given no weights."""

    of: str = ""

    layers = "any"
    needs = (INPUT,)
    questions = ("initial_weights",)

    def allowed(self, run: Experiment) -> Sequence[str] | None:
        return None if self.of else run.weights_known

    def _of(self, reading: Reading) -> None:
        super()._of(reading)
        try:
            reading.experiment.view(self.of)
        except ValueError as problem:
            raise reading.fail("of", str(problem)) from None

    def spoils(self, run: Experiment) -> list[Path]:
        return []  # a shape is no number of the answer

    def judge(self, case: Case) -> Iterator[Comparison]:
        view, run = case.claim.view(self.of), case.claim
        yield equal("claim", self.what, self.value, printed(view.shape))
        for name in view.sources:
            layer, path = run.gradients[name]
            shape = layer.weight_shapes(run.features_of(layer))[path]
            told = case.said["initial_weights"][layer.name][path].array.shape
            yield equal("subject", f"shape of {name}", printed(told), printed(shape))


class OutputDtype(Expectation, frozen=True, kw_only=True):
    """`"float32"`: of what the layer returns."""

    value: Annotated[Any, _DTYPE]

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("output",)

    def reads(self, reading: Reading) -> dict[str, Any]:
        if not isinstance(self.value, str) or self.value not in formats.ARITHMETICS:
            known = ", ".join(formats.ARITHMETICS)
            raise reading.fail("value", f"unknown dtype {self.value!r}; known: {known}")
        return {}

    def unjudged_in(self, policy: Policy) -> str:
        same = policy.name == "float32"
        return "" if same else f"the run was asked for in {policy.name}"

    def spoils(self, run: Experiment) -> list[Path]:
        return []  # a dtype is no number of the answer

    def judge(self, case: Case) -> Iterator[Comparison]:
        dtype = str(case.said["output"].array.dtype)
        yield equal("subject", self.what, dtype, self.value, "claimed")


def printed(sizes: Iterable[int | None]) -> str:
    """As Keras's summaries print it: "(None, 3)"."""
    return str(tuple(None if n is None else int(n) for n in sizes))
