"""What do layers compute when they are called, and what are the gradients of that?"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from .backends import Compute, Differentiate
from .models import Inputs, Models, Stack, arguments, inputs_of, model_key
from .parts import (
    STATES,
    Layers,
    Tensor,
    Tensors,
    flat,
    is_floating,
    own_output,
    reset,
    state_and_mask,
    trainable_weights,
)
from .session import Answer, Maybe, Unsupported
from .wire import Array, encode

# what of a run is the last of a variant of the layer, and how that is made
VARIANTS = {"states": {"return_sequences": True}, "last_state": {"return_state": True}}


class Running(Models):
    """The verbs that run, and that differentiate."""

    def compute(
        self,
        of: Stack,
        layers: Layers,
        training: bool | None = None,
        last: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Compute:
        """The layers as a function. `last`: a sequence is returned where the last is wanted."""
        more = {} if training is None else {"training": training}

        def run(tensors: Tensors) -> Tensors:
            results: Tensors = {}
            value = tensors["x"] if of.whole is None else self.side_by_side(of.whole(tensors["x"]))
            for index, layer in enumerate(layers if of.whole is None else []):
                if index != of.recurrent:
                    value = own_output(layer, layer(value, **start_of(layer.name, tensors)))
                    value = self.side_by_side(value)
                    continue
                value = layer(value, **state_and_mask(tensors), **more)
                if layer.return_state:
                    results["last_state"] = value[1] if len(value) == 2 else list(value[1:])
                value = self.side_by_side(own_output(layer, value))
                if layer.return_sequences:
                    results["states"] = value
                if last:
                    value = value[:, -1]
            results["output"] = value
            if loss is not None:
                results["loss"] = loss(value, tensors["loss"])
            return results

        return run

    def run(
        self,
        of: Stack,
        keep: Sequence[str] = ("output",),
        through: str = "layers",
        x: Maybe = None,
        initial_state: Any = None,
        mask: Maybe = None,
        training: bool | None = None,
        loss: str | None = None,
        target: Maybe = None,
        after: str = "",
        batch_size: int | None = None,
        metrics: Sequence[str] = (),
        sample_weight: Maybe = None,
    ) -> Answer:
        self.can_compute()
        inputs = inputs_of(x, initial_state, mask)
        if through == "layers":
            return {name: self.called(of, name, inputs, training, after) for name in keep}
        if not after:
            reset(of.layers)
        if through == "cell":
            found = self.cell(of, inputs)
        elif {"layers", "masks", "beside"} & set(keep):
            found = self.every_layer(of, inputs)
        elif {"losses", "activities"} & set(keep):
            found = self.losses(of, inputs)
        elif through == "call":
            model = self.model(of, inputs)
            found = {"output": self.encode(self.call(of, model, inputs))}
        else:
            size = batch_size or len(inputs["x"])
            model = self.compiled_model(
                of, inputs, loss, metrics=metrics, weighted=sample_weight is not None,
                batches=-(-len(inputs["x"]) // size),
            )  # fmt: skip
            found = self.of_model(of, model, inputs, through, size, target, sample_weight)
        return {name: self.left(of) if name == "left" else found[name] for name in keep}

    def of_model(
        self,
        of: Stack,
        model: Any,
        inputs: Inputs,
        through: str,
        size: int,
        target: Maybe,
        sample_weight: Maybe,
    ) -> Answer:
        """What a compiled model says, in batches of this size."""
        parts = [slice(at, at + size) for at in range(0, len(inputs["x"]), size)]
        if through == "predict":
            arrays = self.arrays(of, inputs)
            found = self.side_by_side(model.predict(arrays, batch_size=size, verbose=0))
            return {"output": encode(found)}
        if through == "predict_on_batch":
            each = [self.arrays(of, {n: a[part] for n, a in inputs.items()}) for part in parts]
            outputs = [self.side_by_side(model.predict_on_batch(arrays)) for arrays in each]
            return {"output": encode(np.concatenate([np.asarray(each) for each in outputs]))}
        wanted = self.target(model, target)
        weight = None if sample_weight is None else sample_weight.astype(wanted.dtype)
        if through == "evaluate":
            arrays = self.arrays(of, inputs)
            how: dict[str, Any] = {"batch_size": size, "sample_weight": weight, "verbose": 0}
            said = model.evaluate(arrays, wanted, return_dict=True, **how)
            return {"loss": encode(np.asarray(float(said["loss"]))), "reported": numbers(said)}
        if through == "test_on_batch":
            model.reset_metrics()  # which hold what an evaluate before found
            reports = [
                model.test_on_batch(
                    self.arrays(of, {n: a[part] for n, a in inputs.items()}),
                    wanted[part],
                    sample_weight=None if weight is None else weight[part],
                    return_dict=True,
                )
                for part in parts
            ]
            return {"reported": [numbers(said) for said in reports]}
        raise ValueError(f"unknown way {through!r} to run")

    def called(
        self, of: Stack, result: str, inputs: Inputs, training: bool | None, after: str
    ) -> Any:
        """A result of the layers as they stand, or of ones that differ in what is returned."""
        changes = VARIANTS.get(result, {})
        layer = of.layers[of.recurrent]
        if changes and hasattr(layer, "merge_mode"):
            raise ValueError(f"{layer.name} has no sequence of states that is its own")
        as_it_is = {name: getattr(layer, name) for name in changes}
        if as_it_is == changes:
            key = (*map(id, inputs.values()), training, after)
            if key not in of.ran:
                of.ran[key] = self.once(of, "", inputs, training, after)
            return self.encode(of.ran[key][result])
        try:
            for name, value in changes.items():
                setattr(layer, name, value)
            return self.encode(self.once(of, result, inputs, training, after)[result])
        finally:
            for name, value in as_it_is.items():
                setattr(layer, name, value)

    def once(
        self, of: Stack, variant: str, inputs: Inputs, training: bool | None, after: str
    ) -> Tensors:
        """variant: of VARIANTS, which the recurrent layer is now, and the last; "" if none."""
        layers = of.layers[: of.recurrent + 1] if variant else of.layers
        if not after:
            reset(layers)

        def prepared() -> Compute:
            return self.backend.prepared(self.compute(of, layers, training), layers, self.mode)

        run = self.again(of, ("layers", variant, training, model_key(inputs)), prepared)
        found: Tensors = run(self.tensors(of, inputs))
        return found

    def cell(self, of: Stack, inputs: Inputs) -> Answer:
        recurrent = of.layers[of.recurrent]

        def call(tensors: Tensors) -> list[list[Tensor]]:
            states = [tensors[name] for name in STATES if name in tensors]
            steps = []
            for step in range(inputs["x"].shape[1]):
                output, states = recurrent.cell(tensors["x"][:, step], states)
                states = flat(states)
                steps.append([output, *states])
            return steps

        found = self.backend.run(call, [recurrent], self.tensors(of, inputs), self.mode)
        output, *states = (
            encode(np.stack([self.backend.array(each) for each in steps], axis=1))
            for steps in zip(*found)
        )
        return {"output": output, "states": states[0] if len(states) == 1 else states}

    def run_shapes(self, of: Stack, each: Sequence[dict[str, Array]]) -> Answer:
        self.can_compute()
        inputs = [inputs_of(**given) for given in each]
        model = self.model(of, inputs[0], dynamic=True)
        found = self.backend.run_each(
            lambda tensors: self.side_by_side(model(arguments(tensors))),
            [model],
            [self.tensors(of, given) for given in inputs],
            self.mode,
        )
        return {"outputs": [self.encode(output) for output in found]}

    def gradients(
        self,
        of: Stack,
        loss: dict[str, Any],
        wrt: Sequence[str],
        keep: Sequence[str] = (),
        last: bool = False,
        starts: dict[str, Array] | None = None,
        x: Maybe = None,
        initial_state: Any = None,
        mask: Maybe = None,
    ) -> Answer:
        self.can_compute()
        if not self.backend.differentiates:
            raise Unsupported(f"the {self.backend.name} backend has no gradients")
        inputs = inputs_of(x, initial_state, mask)
        wanted = {*wrt, *(STATES if "initial_state" in wrt else ())}
        of_inputs = [n for n, array in inputs.items() if n in wanted and is_floating(n, array)]
        tensors = self.tensors(of, inputs)
        later: dict[str, list[str]] = {}
        for layer, start in (starts or {}).items():
            for i, state in enumerate(start if start.ndim == 3 else start[None]):
                name = f"start {i} of {layer}"
                tensors[name] = self.backend.cast(self.backend.tensor(state), of.compute_dtype)
                later.setdefault(layer, []).append(name)
                of_inputs.append(name)
        tensors["loss"] = self.backend.tensor(
            loss["value" if loss["kind"] == "cotangent" else "target"]
        )
        reset(of.layers)

        def prepared() -> Differentiate:
            to = functools.partial(self.loss, loss["kind"])
            compute = self.compute(of, of.layers, last=last, loss=to)
            return self.backend.differentiating(compute, of.layers, of_inputs, self.mode)

        key = "gradients", last, loss["kind"], *of_inputs, model_key(inputs), *later
        results, by_weights, by_inputs = self.again(of, key, prepared)(tensors)
        found = iter(by_weights)
        encoded = {name: self.encode(value) for name, value in zip(of_inputs, by_inputs)}
        of_starts = {layer: [encoded.pop(name) for name in names] for layer, names in later.items()}
        return {
            "loss": self.encode(results["loss"]),
            "weights": {
                layer.name: {p: self.encode(next(found)) for p, _ in trainable_weights(layer)}
                for layer in of.layers
            },
            **encoded,
            **({"starts": of_starts} if later else {}),
            **{name: self.encode(results[name]) for name in keep if name in results},
        }

    def loss(self, kind: str, output: Tensor, given: Tensor) -> Tensor:
        sizes = tuple(given.shape), tuple(output.shape)  # inside a tf.function some may be unknown
        fit = all(None in pair or pair[0] == pair[1] for pair in zip(*sizes))
        if len(sizes[0]) != len(sizes[1]) or not fit:
            raise ValueError(f"the loss's array has shape {sizes[0]}, the output {sizes[1]}")
        if kind == "cotangent":
            return self.backend.sum(self.backend.cast(given, output.dtype) * output)
        losses = self.backend.keras.losses
        if kind == "mse":
            return losses.MeanSquaredError()(given, output)
        if kind == "categorical_crossentropy":
            return losses.CategoricalCrossentropy()(given, output)
        raise ValueError(f"unknown loss {kind!r}")


def start_of(layer: str, tensors: Tensors) -> Tensors:
    """What a recurrent layer after the first is called with beside x."""
    each = [tensors[n] for n in tensors if n.startswith("start ") and n.endswith(f" of {layer}")]
    return {"initial_state": each if len(each) > 1 else each[0]} if each else {}


def numbers(said: dict[str, Any]) -> dict[str, Any]:
    """What was reported, by name, encoded."""
    return {name: encode(np.asarray(float(value))) for name, value in said.items()}
