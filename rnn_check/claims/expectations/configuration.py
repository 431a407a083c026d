"""What does a layer say of its own options?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.expectations.case import Case, Unsupported
from rnn_check.claims.expectations.expectation import Expectation, Path, Reading
from rnn_check.claims.experiment import Experiment
from rnn_check.subjects.asked.named import NAME

OPTIMIZERS: dict[str, tuple[str, ...]] = {  # and their options, whose defaults can be claimed
    "Adam": ("learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad", "weight_decay", "clipnorm",
             "global_clipnorm", "clipvalue", "use_ema", "ema_momentum"),
    "SGD": ("learning_rate", "momentum", "nesterov", "weight_decay", "clipnorm", "global_clipnorm",
            "clipvalue", "use_ema", "ema_momentum"),
}  # fmt: skip
_OPTION = msgspec.Meta(extra_json_schema={"type": ["boolean", "number", "string", "object"]})


class Configured(Expectation, frozen=True, kw_only=True):
    """What `get_config()` says of an option.

    True, a number, a word, `"None"`, or a table {kind = ...} of which what is named is compared.
    """

    family: ClassVar[bool] = True
    of: str = ""
    value: Annotated[Any, _OPTION]

    layers = "any"
    needs = ()
    questions = ("config",)

    is_given: ClassVar[bool]  # whether the claim gives the option

    def allowed(self, run: Experiment) -> Sequence[str]:
        where = {layer.name: f"{layer.name}." * (len(run.layers) > 1) for layer in run.layers}
        return [
            where[layer.name] + name
            for layer in run.layers
            for name in layer.options
            if (getattr(layer, name) is not msgspec.UNSET) == self.is_given
        ]

    def reads(self, reading: Reading) -> dict[str, Any]:
        return {"value": _option(self.value, reading, "value")}

    def spoils(self, run: Experiment) -> list[Path]:
        where, _, name = self.of.rpartition(".")
        if where in OPTIMIZERS:
            return [("config", "optimizers", where, name)]
        end = ("*",) if isinstance(self.value, dict) and len(self.value) > 1 else ()
        return [] if end else [("config", "layers", where or run.names[0], name)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        told = case.said["config"]
        where, _, name = self.of.rpartition(".")
        of_optimizer = where in OPTIMIZERS
        names = case.claim.names
        config = told["optimizers"][where] if of_optimizer else told["layers"][where or names[0]]
        if name not in config and not self.is_given:
            raise Unsupported(f"its configuration has no {name}")
        got, wanted = config.of(dict).get(name, "nothing"), self.value
        if isinstance(wanted, dict) and isinstance(got, dict):
            got = {part: got.get(part) for part in wanted}
        if isinstance(wanted, float) and isinstance(got, int | float):
            # a learning rate is kept in a float32
            got = wanted if got == float(np.float32(wanted)) else got
        yield equal("subject", self.name, _as_written(got), _as_written(wanted), "claimed")


class Config(Configured, frozen=True, kw_only=True):
    """Of an option that the layer was given; of several layers `rnn.dropout`."""

    is_given = True


class Default(Configured, frozen=True, kw_only=True):
    """Of an option that was left out; or of one of an optimizer, as `Adam.epsilon`."""

    is_given = False

    def allowed(self, run: Experiment) -> Sequence[str]:
        of_optimizers = [f"{name}.{o}" for name, options in OPTIMIZERS.items() for o in options]
        return [*super().allowed(run), *of_optimizers]


def _option(value: Any, reading: Reading, key: str) -> Any:
    """True, a number, a word ("None" is None), or a table: {kind = "Orthogonal", gain = 1}."""
    if isinstance(value, dict) and isinstance(value.get("kind"), str):
        for name in value:
            if not NAME.fullmatch(name) or name == "npz":
                raise reading.fail(f"{key}.{name}", "no argument of a class is so called")
        return {name: _option(part, reading, f"{key}.{name}") for name, part in value.items()}
    if isinstance(value, bool) or value in ("None", None):
        return value if isinstance(value, bool) else None
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | Decimal):
        return float(reading.read.given(value, f"{reading.key}.{key}").value)
    problem = f'expected true, a number, "None", a name, or {{ kind = ... }}, got {value!r}'
    raise reading.fail(key, problem)


def _as_written(value: Any) -> str:
    """True, 1e-07, None, tanh, or {kind: GlorotUniform, seed: None}."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_as_written(part)}' for name, part in value.items())}}}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value)) if abs(value) < 2**1000 else str(value)
    return str(value)
