"""How does torch.nn obey?  SimpleRNN is torch.nn.RNN, Dense is torch.nn.Linear.

torch keeps weight_ih_l0 (H,F) and weight_hh_l0 (H,H), the transposed of kernel and
recurrent_kernel, and adds two biases; here bias_hh_l0 is zero, and bias_ih_l0 is the bias.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from .machine import ENVIRONMENT, SETTINGS, cpu_model, packages
from .named import named, refusals
from .session import Answer, Descriptions, Made, Maybe, Session, Unsupported
from .wire import Array, encode

Tensor = Any
# what of a description means the same to torch; any value but these is one that it does not have
TAKES: dict[str, dict[str, Any]] = {
    "SimpleRNN": {
        "activation": ("tanh", "relu"),
        "use_bias": (True, False),
        "return_sequences": (True, False),
        "return_state": (True, False),
        "go_backwards": (True, False),
        "unroll": (True, False),  # it is the same loop, however it is run
    },
    "Dense": {
        "activation": ("linear", None, "tanh", "relu", "softmax"),
        "use_bias": (True, False),
    },
}
MEANS_NOTHING = (None, False, 0)  # of any other option
PATHS = {
    "SimpleRNN": {"kernel": "weight_ih_l0", "recurrent_kernel": "weight_hh_l0",
                  "bias": "bias_ih_l0"},
    "Dense": {"kernel": "weight", "bias": "bias"},
}  # fmt: skip


class Stack(Made):
    """Modules one after the other. shape: of their input."""

    def __init__(self, specs: Descriptions, modules: list[Any]) -> None:
        self.specs = specs
        self.modules = modules

    def parameters(self) -> dict[str, dict[str, Tensor]]:
        """{layer: {path: parameter}}, as torch has them."""
        found: dict[str, dict[str, Tensor]] = {}
        for spec, module in zip(self.specs, self.modules):
            paths = PATHS[spec["kind"]].items()
            own = {path: getattr(module, name, None) for path, name in paths}
            if not spec.get("use_bias", True):
                own.pop("bias")
            found[spec["name"]] = own
        return found


class Torch(Session):
    """torch.nn on the CPU, eagerly."""

    framework = "torch"

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.floatx = torch.float32

    def identity(self) -> Answer:
        torch = self.torch
        settings = {name: value for name, value in ENVIRONMENT.items() if SETTINGS.match(name)}
        settings["float32_matmul_precision"] = torch.get_float32_matmul_precision()
        return {
            **{"framework": "torch", "backend": "torch", "backend_version": torch.__version__},
            **{"python": platform.python_version(), "numpy": np.__version__, "device": "CPU"},
            **{"packages": packages(), "dtype": "float32", "modes": ["eager"], "gradients": True},
            **{"cpu": cpu_model(), "threads": torch.get_num_threads()},
            **{"platform": platform.platform(), "settings": settings},
        }

    def begin(self, how: Answer) -> None:
        super().begin(how)
        if self.mode != "eager":
            raise Unsupported(f"torch has no mode {self.mode!r} here")
        if self.dtype not in (None, "float32", "float64"):
            raise Unsupported(f"torch is not asked in {self.dtype}")
        self.dtype = self.dtype or "float32"
        self.floatx = getattr(self.torch, how.get("floatx") or "float32")

    def make(
        self,
        layers: Descriptions,
        input_shape: Sequence[int | None],
        weights: dict[str, dict[str, Array]] | None = None,
        like: Made | None = None,
        below: dict[str, dict[str, Array]] | None = None,
        drawn: bool = False,
        model: Any = None,
        copy: str = "",
    ) -> Stack:
        if drawn:
            raise Unsupported("torch draws its weights in a way of its own")
        if model is not None:
            raise self.has_no("keras.Model")
        specs, size, modules = named(layers), input_shape[-1], []
        for spec in specs:
            self.check(spec)
            modules.append(self.module(spec, size))
            size = spec["units"]
        made = Stack(specs, modules)
        given = {name: dict(table) for name, table in (weights or {}).items()}
        if isinstance(like, Stack):
            given.update(self.arrays(like))
        for name, table in (below or {}).items():
            for path, rows in table.items():
                given[name][path] = np.concatenate([given[name][path], rows])
        for name, own in made.parameters().items():
            for path, array in given.pop(name, {}).items():
                if path not in own:
                    raise ValueError(f"{name} has no weight {path!r}, only {list(own)}")
                with self.torch.no_grad():
                    own[path].copy_(self.tensor(array.T))
        if given:
            raise ValueError(f"weights for {sorted(given)}, which are none of the layers")
        return made

    def check(self, spec: dict[str, Any]) -> None:
        kind = spec.get("kind")
        if kind not in TAKES:
            if refused := list(refusals(spec)):
                raise ValueError("{}: {}".format(*refused[0]).lstrip(".: "))
            raise self.has_no(f"{kind} here")
        for key, value in spec.items():
            takes = TAKES[kind].get(key, MEANS_NOTHING)
            if key.endswith("_initializer"):  # of weights that are given
                continue
            if key not in ("kind", "name", "units") and value not in takes:
                if key == "trainable" and value is True:
                    continue
                raise self.has_no(f"{kind} with {key} = {value!r}")

    def module(self, spec: dict[str, Any], size: Any) -> Any:
        """The module with its bias, or with one that is zero."""
        nn, dtype = self.torch.nn, getattr(self.torch, str(self.dtype))
        bias = spec.get("use_bias", True)
        if spec["kind"] == "Dense":
            return nn.Linear(size, spec["units"], bias=bias, dtype=dtype)
        activation = spec.get("activation", "tanh")
        made = nn.RNN(
            size, spec["units"], nonlinearity=activation, bias=bias, batch_first=True, dtype=dtype
        )
        if bias:
            nn.init.zeros_(made.bias_hh_l0)
        return made

    def tensor(self, array: Array) -> Tensor:
        dtype = getattr(self.torch, str(self.dtype))
        return self.torch.tensor(np.ascontiguousarray(array), dtype=dtype)

    def arrays(self, of: Stack) -> dict[str, dict[str, Array]]:
        return {
            name: {path: value.detach().numpy().T for path, value in own.items()}
            for name, own in of.parameters().items()
        }

    def weights(self, of: Stack, after: str = "") -> Answer:
        found = self.arrays(of)
        return {
            "weights": {n: {p: encode(a) for p, a in own.items()} for n, own in found.items()},
            "trainable": {name: list(own) for name, own in found.items()},
        }

    def called(
        self,
        of: Stack,
        x: Tensor,
        start: Tensor | None,
        last: bool = False,
        starts: dict[str, Tensor] | None = None,
    ) -> dict[str, Any]:
        """All that can be kept of a run. starts: of layers after the first recurrent one."""
        results: dict[str, Any] = {"layers": [], "masks": [None] * len(of.modules), "beside": []}
        value = x
        for spec, module in zip(of.specs, of.modules):
            results["beside"] = []
            if spec["kind"] == "Dense":
                value = self.activated(spec.get("activation"), module(value))
            else:
                if spec.get("go_backwards"):
                    value = value.flip(1)
                start = (starts or {}).get(spec["name"], start)
                given = () if start is None else (start[None],)
                sequence, end = module(value, *given)
                shown = spec.get("return_sequences") and not (last and "states" not in results)
                value = sequence if shown else sequence[:, -1]
                start = None
                results.setdefault("states", sequence)
                results.setdefault("last_state", end[0])
                if spec.get("return_state"):
                    results["beside"] = [end[0]]
            results["layers"].append(value)
        results["output"] = value
        return results

    def activated(self, name: str | None, value: Tensor) -> Tensor:
        if name in (None, "linear"):
            return value
        return (
            self.torch.softmax(value, -1) if name == "softmax" else getattr(self.torch, name)(value)
        )

    def inputs(self, x: Maybe, initial_state: Maybe, mask: Maybe) -> tuple[Tensor, Tensor | None]:
        if mask is not None:
            raise self.has_no("mask")
        if x is None or x.dtype.kind != "f":
            raise Unsupported("torch's RNN takes floating-point input")
        start = None if initial_state is None else self.tensor(initial_state)
        return self.tensor(x), start

    def run(
        self,
        of: Stack,
        keep: Sequence[str] = ("output",),
        through: str = "layers",
        x: Maybe = None,
        initial_state: Maybe = None,
        mask: Maybe = None,
        training: bool | None = None,
        loss: str | None = None,
        target: Maybe = None,
        after: str = "",
    ) -> Answer:
        if through not in ("layers", "call"):
            raise self.has_no(through)
        if training or after:
            raise self.has_no("dropout and no state that is kept from run to run here")
        with self.torch.no_grad():
            found = self.called(of, *self.inputs(x, initial_state, mask))
        if lacks := [name for name in keep if name not in found]:
            raise self.has_no(lacks[0])
        return {name: self.told(found[name]) for name in keep}

    def gradients(
        self,
        of: Stack,
        loss: dict[str, Any],
        wrt: Sequence[str],
        keep: Sequence[str] = (),
        last: bool = False,
        starts: dict[str, Array] | None = None,
        x: Maybe = None,
        initial_state: Maybe = None,
        mask: Maybe = None,
    ) -> Answer:
        value, start = self.inputs(x, initial_state, mask)
        inputs = {"x": value, "initial_state": start}
        watched = {name: t for name, t in inputs.items() if name in wrt and t is not None}
        later = {layer: self.tensor(array) for layer, array in (starts or {}).items()}
        for tensor in (*watched.values(), *later.values()):
            tensor.requires_grad_()
        found = self.called(of, value, start, last, later)
        worth = self.loss(loss, found["output"])
        parameters = of.parameters()
        weights = [value for own in parameters.values() for value in own.values()]
        gradients = iter(
            self.torch.autograd.grad(
                worth,
                [*weights, *watched.values(), *later.values()],
                allow_unused=True,
                materialize_grads=True,
            )
        )
        of_weights = {
            name: {path: encode(next(gradients).numpy().T) for path in own}
            for name, own in parameters.items()
        }
        return {
            "loss": self.told(worth),
            "weights": of_weights,
            **{name: self.told(next(gradients)) for name in watched},
            **({"starts": {n: [self.told(next(gradients))] for n in later}} if later else {}),
            **{name: self.told(found[name]) for name in keep if name in found},
        }

    def loss(self, given: dict[str, Any], output: Tensor) -> Tensor:
        kind = given["kind"]
        if kind not in ("cotangent", "mse"):
            raise self.has_no(f"loss as Keras's {kind}")
        wanted = self.torch.tensor(given["value" if kind == "cotangent" else "target"])
        if wanted.shape != output.shape:
            sizes = tuple(wanted.shape), tuple(output.shape)
            raise ValueError(f"the loss's array has shape {sizes[0]}, the output {sizes[1]}")
        if kind == "cotangent":
            return (wanted.to(output.dtype) * output).sum()
        # what is no layer computes in floatx, as in Keras
        to = self.floatx
        return self.torch.nn.functional.mse_loss(output.to(to), wanted.to(to))

    def told(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.told(each) for each in value]
        return None if value is None else encode(value.detach().numpy())


def open_session(backend: str | None) -> Torch:
    """Raises ModuleNotFoundError if torch is not installed."""
    return Torch(importlib.import_module("torch"))
