"""How do the cells of flax.nnx and of equinox obey, run over a sequence and differentiated by JAX?

flax: SimpleCell, LSTMCell and GRUCell inside nnx.RNN. Their kernels are Keras's, the gates in
torch's order; a GRU has one bias, that of x. equinox: LSTMCell and GRUCell inside jax.lax.scan, for
each sample; their matrices multiply from the left, and of a GRU the candidate alone has a second
bias.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .called import Derived, Given, Stack, Tensor
from .layouts import KERAS, PATHS, TORCH, has_two_biases, moved
from .machine import available_cores
from .session import Answer, Unsupported
from .stacked import RECURRENT, Stacked
from .wire import Array

# Keras's activations as jax.nn has them
ACTIVATIONS = {
    **{name: name for name in ("tanh", "sigmoid", "relu", "softplus", "elu", "hard_sigmoid")},
    **{"softsign": "soft_sign", "linear": "identity"},
}
NAMES = tuple(ACTIVATIONS)
Arrays = dict[str, Any]  # {path: array}: Keras's, but for the order of the gates


class Jaxed(Stacked):
    """Cells on JAX: a layer is what it is made of, so that it can be differentiated by it."""

    draws = False

    def __init__(self, jax: Any, package: Any) -> None:
        self.jax, self.package = jax, package

    def version(self) -> str:
        return str(self.package.__version__)

    def threads(self) -> int:
        return available_cores()

    def settings(self) -> dict[str, str]:
        return {"jax": str(self.jax.__version__)}

    def begin(self, how: Answer) -> None:
        super().begin(how)
        self.jax.config.update("jax_enable_x64", self.dtype == "float64")

    def sequence(self, spec: dict[str, Any], own: Arrays, x: Tensor, start: list[Tensor]) -> Any:
        """The outputs (B,T,H) and the last states, of a cell with these weights."""
        raise NotImplementedError

    # layers and their weights

    def module(self, spec: dict[str, Any], size: int) -> Arrays:
        units, gates = spec["units"], len(KERAS[spec["kind"]])
        rows = (2,) if has_two_biases(spec) else ()
        shapes = {"kernel": (size,), "recurrent_kernel": (units,), "bias": rows}
        if not spec.get("use_bias", True):
            shapes.pop("bias")
        return {p: np.zeros((*shape, gates * units), self.dtype) for p, shape in shapes.items()}

    def read(self, module: Arrays, spec: dict[str, Any]) -> dict[str, Array]:
        kind = spec["kind"]
        return {p: moved(np.asarray(a), TORCH[kind], KERAS[kind]) for p, a in module.items()}

    def write(self, module: Arrays, spec: dict[str, Any], own: dict[str, Array]) -> None:
        kind = spec["kind"]
        module.update((p, self.tensor(moved(own[p], KERAS[kind], TORCH[kind]))) for p in PATHS
                      if p in own)  # fmt: skip
        if has_two_biases(spec) and "bias" in own and module["bias"][1][self.unbiased(spec)].any():
            raise self.has_no(f"second bias in all gates of a {kind}")

    def unbiased(self, spec: dict[str, Any]) -> slice:
        """Where in torch's order a GRU's second bias has to be zero."""
        raise NotImplementedError

    # running

    def tensor(self, array: Array) -> Tensor:
        return self.jax.numpy.asarray(np.ascontiguousarray(array), dtype=self.dtype)

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        return self.jax.numpy.concatenate(list(parts), -1)

    def recur(
        self,
        module: Arrays,
        spec: dict[str, Any],
        x: Tensor,
        starts: Sequence[Tensor],
        lengths: Sequence[int] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        if lengths is not None:
            raise self.has_no("mask")
        many = 2 if spec["kind"] == "LSTM" else 1
        zeros = self.jax.numpy.zeros((x.shape[0], spec["units"]), x.dtype)
        x = x[:, ::-1] if spec.get("go_backwards") else x
        sequence, ends = self.sequence(spec, module, x, list(starts) or [zeros] * many)
        return sequence, list(ends)

    def differentiated(
        self, of: Stack, given: Given, loss: dict[str, Any], keep: Sequence[str]
    ) -> Derived:
        def worth(
            modules: list[Arrays], x: Tensor, states: list[Tensor], later: dict[str, Any]
        ) -> tuple[Tensor, dict[str, Tensor]]:
            run = self.called(
                Stack(of.specs, modules), *Given(x, states, given.lengths, given.last, later)
            )
            found = self.kept(run, ("output", *keep))
            kept = {name: found[name] for name in keep if name in found}
            return self.loss(loss, found["output"]), kept

        differentiate = self.jax.value_and_grad(worth, (0, 1, 2, 3), has_aux=True)
        (total, kept), by = differentiate(of.modules, given.x, given.starts, given.later)
        weights = [self.of_weights(m, s) for m, s in zip(by[0], of.specs)]
        return Derived(total, weights, by[1], by[2], by[3], kept)

    def loss(self, given: dict[str, Any], output: Tensor) -> Tensor:
        if given["kind"] != "cotangent":
            raise self.has_no(f"loss as Keras's {given['kind']}")
        return (self.tensor(self.fits(given["value"], output)) * output).sum()

    def of_weights(self, found: Arrays, spec: dict[str, Any]) -> dict[str, Array]:
        """Gradients of the weights as Keras has them."""
        return self.read(found, spec)


class Flax(Jaxed):
    """Cells of flax.nnx."""

    framework = "flax"
    takes = {  # noqa: RUF012  never changed
        "SimpleRNN": {**RECURRENT, "activation": NAMES},
        "LSTM": {**RECURRENT, "activation": NAMES, "recurrent_activation": NAMES},
        "GRU": {
            **RECURRENT, "activation": NAMES, "recurrent_activation": NAMES, "reset_after": (True,)
        },
    }  # fmt: skip

    def unbiased(self, spec: dict[str, Any]) -> slice:
        return slice(None)

    def of_weights(self, found: Arrays, spec: dict[str, Any]) -> dict[str, Array]:
        if has_two_biases(spec) and "bias" in found:
            raise Unsupported("flax's GRU has no second bias, and so no gradient of it")
        return super().of_weights(found, spec)

    def sequence(self, spec: dict[str, Any], own: Arrays, x: Tensor, start: list[Tensor]) -> Any:
        nnx, nn = self.package.nnx, self.jax.nn
        kind, units = spec["kind"], spec["units"]
        act = {"activation_fn": getattr(nn, ACTIVATIONS[spec.get("activation") or "tanh"])}
        if kind != "SimpleRNN":
            act["gate_fn"] = getattr(nn, ACTIVATIONS[spec.get("recurrent_activation", "sigmoid")])
        kinds = {"SimpleRNN": "SimpleCell", "LSTM": "LSTMCell", "GRU": "GRUCell"}
        zeros = nnx.initializers.zeros_init()  # drawing what is then given takes longer than a run
        act.update(dict.fromkeys(("kernel_init", "recurrent_kernel_init"), zeros))
        cell = getattr(nnx, kinds[kind])(
            x.shape[-1], units, rngs=nnx.Rngs(0), param_dtype=x.dtype, **act
        )
        kernel, recurrent_kernel = own["kernel"], own["recurrent_kernel"]
        bias = own.get("bias", self.jax.numpy.zeros(kernel.shape[1], x.dtype))
        if kind == "LSTM":
            for part, array in (("i", kernel), ("h", recurrent_kernel)):
                names = [f"{part}{gate}" for gate in ("i", "f_" if part == "i" else "f", "g", "o")]
                for name, block in zip(names, self.jax.numpy.split(array, 4, 1)):
                    getattr(cell, name).kernel[...] = block
            for name, block in zip(("hi", "hf", "hg", "ho"), self.jax.numpy.split(bias, 4)):
                getattr(cell, name).bias[...] = block
        else:
            cell.dense_i.kernel[...], cell.dense_h.kernel[...] = kernel, recurrent_kernel
            cell.dense_i.bias[...] = bias[0] if bias.ndim == 2 else bias
        carry = tuple(start[::-1]) if kind == "LSTM" else start[0]  # (c, h)
        ends, sequence = nnx.RNN(cell, return_carry=True)(x, initial_carry=carry)
        return sequence, ends[::-1] if kind == "LSTM" else [ends]


class Equinox(Jaxed):
    """Cells of equinox.nn."""

    framework = "equinox"
    takes = {  # noqa: RUF012  never changed
        "LSTM": {**RECURRENT, "activation": ("tanh",), "recurrent_activation": ("sigmoid",)},
        "GRU": {
            **RECURRENT, "activation": ("tanh",), "recurrent_activation": ("sigmoid",),
            "reset_after": (True,),
        },
    }  # fmt: skip

    def unbiased(self, spec: dict[str, Any]) -> slice:
        return slice(2 * spec["units"])

    def of_weights(self, found: Arrays, spec: dict[str, Any]) -> dict[str, Array]:
        """Of a sum of two biases both have the same."""
        own = dict(found)
        if has_two_biases(spec) and "bias" in own:
            sums = 2 * spec["units"]
            own["bias"] = own["bias"].at[1, :sums].set(own["bias"][0, :sums])
        return super().of_weights(own, spec)

    def sequence(self, spec: dict[str, Any], own: Arrays, x: Tensor, start: list[Tensor]) -> Any:
        jax, nn = self.jax, self.package.nn
        kind, units, has_bias = spec["kind"], spec["units"], "bias" in own
        cell = self.package.filter_eval_shape(  # whose weights, which are given, are not drawn
            getattr(nn, f"{kind}Cell"),
            x.shape[-1], units, use_bias=has_bias, dtype=x.dtype, key=jax.random.key(0),
        )  # fmt: skip
        new = {"weight_ih": own["kernel"].T, "weight_hh": own["recurrent_kernel"].T}
        if has_bias:
            bias = own["bias"]
            new["bias"] = bias if kind == "LSTM" else bias[0]
            new.update({"bias_n": bias[1, 2 * units :]} if kind == "GRU" else {})
        cell = self.package.tree_at(
            lambda c: [getattr(c, name) for name in new], cell, list(new.values())
        )

        def step(states: Any, x: Tensor) -> Any:
            states = cell(x, states)
            return states, states[0] if kind == "LSTM" else states

        def scan(x: Tensor, states: Any) -> Any:
            return jax.lax.scan(step, states, x)

        ends, sequence = jax.vmap(scan)(x, tuple(start) if kind == "LSTM" else start[0])
        return sequence, ends if kind == "LSTM" else [ends]


def open_session(backend: str | None) -> Jaxed:
    """backend: "flax" or "equinox". Raises ModuleNotFoundError if one is not installed."""
    package = importlib.import_module(backend or "flax")
    if backend == "equinox":
        return Equinox(importlib.import_module("jax"), package)
    importlib.import_module("flax.nnx")
    return Flax(importlib.import_module("jax"), package)
