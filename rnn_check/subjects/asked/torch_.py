"""How does torch.nn obey?  SimpleRNN, LSTM and GRU are torch.nn.RNN, LSTM and GRU, Dense is Linear.

torch keeps weight_ih_l0 (GH,F) and weight_hh_l0 (GH,H), the transposed of kernel and
recurrent_kernel, a GRU's gates in another order, and two biases: those of a GRU are Keras's two; of
the others bias_hh_l0 is zero, and bias_ih_l0 the bias. Layers of a kind that follow each other are
one module of as many layers, unless it is asked what comes between them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import torch_files
from .called import Derived, Given, Run, Stack, Tensor, backwards
from .layouts import (
    KERAS,
    TORCH,
    Turned,
    as_keras,
    has_two_biases,
    torch_names,
    turned,
    ways,
)
from .session import Answer
from .stacked import BOTH, RECURRENT, Stacked
from .weight_files import Found
from .wire import Array

GATED = {**RECURRENT, "activation": ("tanh",), "recurrent_activation": ("sigmoid",)}
CLASSES = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}
DENSE = {"kernel": "weight", "bias": "bias"}


class Torch(Stacked):
    """torch.nn on the CPU, eagerly."""

    framework = "torch"
    takes = {  # noqa: RUF012  never changed
        "SimpleRNN": {**RECURRENT, "activation": ("tanh", "relu")},
        "LSTM": GATED,
        "GRU": {**GATED, "reset_after": (True,)},
        "Bidirectional": {"merge_mode": ("concat",)},
        "Dense": {"activation": ("linear", None, "tanh", "relu", "softmax"), "use_bias": BOTH},
    }

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.floatx = torch.float32

    def version(self) -> str:
        return str(self.torch.__version__)

    def threads(self) -> int:
        return int(self.torch.get_num_threads())

    def settings(self) -> dict[str, str]:
        return {"float32_matmul_precision": self.torch.get_float32_matmul_precision()}

    def begin(self, how: Answer) -> None:
        super().begin(how)
        self.floatx = getattr(self.torch, how.get("floatx") or "float32")

    # layers and their weights

    def module(self, spec: dict[str, Any], size: int, layers: int = 1) -> Any:
        """With its biases, or with some that are zero."""
        nn, dtype = self.torch.nn, getattr(self.torch, str(self.dtype))
        if spec["kind"] == "Dense":
            return nn.Linear(size, spec["units"], bias=spec.get("use_bias", True), dtype=dtype)
        inner = spec.get("layer", spec)
        options = {"bias": inner.get("use_bias", True), "bidirectional": inner is not spec}
        if inner["kind"] == "SimpleRNN":
            options["nonlinearity"] = inner.get("activation", "tanh")
        return getattr(nn, CLASSES[inner["kind"]])(
            size, inner["units"], layers, batch_first=True, dropout=0.0, dtype=dtype, **options
        )

    def parameters(self, module: Any, spec: dict[str, Any]) -> list[Tensor]:
        """Those that weights are written into and gradients are read from, as torch has them."""
        if spec["kind"] == "Dense":
            found = [getattr(module, name) for name in DENSE.values()]
        else:
            names = [n for reverse, _ in enumerate(ways(spec)) for n in torch_names(0, reverse > 0)]
            found = [getattr(module, name, None) for name in names]
        return [each for each in found if each is not None]

    def as_keras(self, found: Sequence[Array], spec: dict[str, Any]) -> dict[str, Array]:
        """Arrays like these parameters by Keras's paths, as Keras has them."""
        if spec["kind"] == "Dense":
            return dict(zip(DENSE, (array.T for array in found)))
        own: dict[str, Array] = {}
        each = iter(found)
        for prefix, inner in ways(spec):
            some = 4 if inner.get("use_bias", True) else 2
            theirs = Turned(*[next(each) for _ in range(some)], *[None] * (4 - some))
            kind = inner["kind"]
            paths = as_keras(theirs, TORCH[kind], KERAS[kind], has_two_biases(inner))
            own.update((prefix + path, array) for path, array in paths.items())
        return own

    def read(self, module: Any, spec: dict[str, Any]) -> dict[str, Array]:
        found = [self.array(each) for each in self.parameters(module, spec)]
        return self.as_keras(found, spec)

    def write(self, module: Any, spec: dict[str, Any], own: dict[str, Array]) -> None:
        if spec["kind"] == "Dense":
            new = [array.T for array in own.values()]
        else:
            new = []
            for prefix, inner in ways(spec):
                kind = inner["kind"]
                parts = {p[len(prefix) :]: a for p, a in own.items() if p.startswith(prefix)}
                new += [a for a in turned(parts, KERAS[kind], TORCH[kind]) if a is not None]
        with self.torch.no_grad():
            for parameter, array in zip(self.parameters(module, spec), new):
                parameter.copy_(self.tensor(array))

    def layers_in(self, where: str) -> Found:
        return torch_files.layers_in(self.torch, where)

    # running

    def tensor(self, array: Array) -> Tensor:
        dtype = getattr(self.torch, str(self.dtype))
        return self.torch.tensor(np.ascontiguousarray(array), dtype=dtype)

    def array(self, tensor: Tensor) -> Array:
        return np.asarray(tensor.detach().numpy())

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        return self.torch.cat(list(parts), -1)

    def dense(self, module: Any, spec: dict[str, Any], x: Tensor) -> Tensor:
        return self.activated(spec.get("activation"), module(x))

    def activated(self, name: str | None, value: Tensor) -> Tensor:
        if name in (None, "linear"):
            return value
        return (
            self.torch.softmax(value, -1) if name == "softmax" else getattr(self.torch, name)(value)
        )

    def recur(
        self,
        module: Any,
        spec: dict[str, Any],
        x: Tensor,
        starts: Sequence[Tensor],
        lengths: Sequence[int] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Of a module of several layers: the first one's initial states, the last one's ends."""
        inner = spec.get("layer", spec)
        if inner.get("go_backwards"):
            x = self.reversed(x, lengths)
        many = 2 if inner["kind"] == "LSTM" else 1  # states of each layer and direction
        start = []
        if starts:
            zeros = [self.torch.zeros_like(state) for state in starts] * (module.num_layers - 1)
            each = [*starts, *zeros]
            given = tuple(self.torch.stack(each[i::many]) for i in range(many))
            start = [given if many > 1 else given[0]]
        if lengths is None:
            sequence, ends = module(x, *start)
        else:
            rnn = self.torch.nn.utils.rnn
            packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            sequence, ends = module(packed, *start)
            sequence, _ = rnn.pad_packed_sequence(sequence, True, total_length=x.shape[1])
        if inner.get("go_backwards") and lengths is not None:
            # what does not count stands first there
            sequence = self.reversed(self.reversed(sequence, lengths), None)
        of_last = [each[-len(ways(spec)) :] for each in (ends if many > 1 else (ends,))]
        return sequence, [state for both in zip(*of_last) for state in both]

    def reversed(self, x: Tensor, lengths: Sequence[int] | None) -> Tensor:
        order = self.torch.tensor(backwards(x.shape[1], lengths))
        if lengths is None:
            return x.flip(1)
        return x.gather(1, order[:, :, None].expand(*x.shape))

    def ran(self, of: Stack, keep: Sequence[str], *inputs: Any) -> Run:
        with self.torch.no_grad():
            return self.called(self.one(of) if tuple(keep) == ("output",) else of, *inputs)

    def one(self, of: Stack) -> Stack:
        """The same with one module for recurrent layers of a kind that follow each other; they
        share their parameters."""
        pairs: list[tuple[dict[str, Any], Any]] = []
        for specs, modules in in_runs(of):
            if len(specs) == 1:
                pairs.append((specs[0], modules[0]))
                continue
            deep = self.module(specs[0], modules[0].input_size, len(specs))
            for layer, module in enumerate(modules):
                for reverse, _ in enumerate(ways(specs[0])):
                    names = zip(torch_names(layer, reverse > 0), torch_names(0, reverse > 0))
                    for name, own in names:
                        if hasattr(module, own):
                            setattr(deep, name, getattr(module, own))
            pairs.append((specs[-1], deep))
        return Stack([spec for spec, _ in pairs], [module for _, module in pairs])

    def differentiated(
        self, of: Stack, given: Given, loss: dict[str, Any], keep: Sequence[str]
    ) -> Derived:
        later = given.later
        watched = [given.x, *given.starts, *(s for each in later.values() for s in each)]
        for tensor in watched:
            tensor.requires_grad_()
        whole = of if keep or later else self.one(of)
        run = self.called(whole, *given)
        found = self.kept(run, ("output", *keep))
        worth = self.loss(loss, found["output"])
        parameters = [self.parameters(m, s) for m, s in zip(of.modules, of.specs)]
        gradients = iter(
            self.torch.autograd.grad(
                worth,
                [*(each for own in parameters for each in own), *watched],
                allow_unused=True,
                materialize_grads=True,
            )
        )
        return Derived(
            worth,
            [
                self.as_keras([next(gradients).numpy() for _ in own], spec)
                for spec, own in zip(of.specs, parameters)
            ],
            next(gradients),
            [next(gradients) for _ in given.starts],
            {layer: [next(gradients) for _ in start] for layer, start in later.items()},
            {name: found[name] for name in keep if name in found},
        )

    def loss(self, given: dict[str, Any], output: Tensor) -> Tensor:
        kind = given["kind"]
        if kind not in ("cotangent", "mse"):
            raise self.has_no(f"loss as Keras's {kind}")
        told = given["value" if kind == "cotangent" else "target"]
        wanted = self.torch.tensor(self.fits(told, output))
        if kind == "cotangent":
            return (wanted.to(output.dtype) * output).sum()
        # what is no layer computes in floatx, as in Keras
        to = self.floatx
        return self.torch.nn.functional.mse_loss(output.to(to), wanted.to(to))


def in_runs(of: Stack) -> Iterator[tuple[list[dict[str, Any]], list[Any]]]:
    """Layers that follow each other and could be one module, read forwards and none of them but
    the last without its sequence."""

    def what(spec: Mapping[str, Any]) -> Any:
        inner = spec.get("layer")
        own = {k: v for k, v in spec.items() if k not in ("name", "return_sequences", "layer")}
        return own if inner is None else (own, what(inner))

    specs: list[dict[str, Any]] = []
    modules: list[Any] = []
    for spec, module in zip(of.specs, of.modules):
        before = specs[-1].get("layer", specs[-1]) if specs else {}
        joins = before.get("return_sequences") and not before.get("go_backwards")
        if specs and not (joins and what(spec) == what(specs[-1])):
            yield specs, modules
            specs, modules = [], []
        specs, modules = [*specs, spec], [*modules, module]
    yield specs, modules


def open_session(backend: str | None) -> Torch:
    """Raises ModuleNotFoundError if torch is not installed."""
    return Torch(importlib.import_module("torch"))
