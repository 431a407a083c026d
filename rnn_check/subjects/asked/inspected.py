"""What does each recurrent layer of a user's model compute there? The verb `inspect`."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import described
from .backends import Backend
from .finding import Place, places
from .own import load_class
from .parts import Tensors, flat, named_weights, reset, states_of, weights_of
from .probed import probed
from .session import Answer
from .watched import Watch
from .wire import Array, encode

_FLOATS = ("float", "bfloat", "mixed")
_OF_INPUTS = ("InputLayer", "__keras_tensor__")  # whose dtypes are no policies


def inspected(
    backend: Backend, mode: str, dtype: str | None, where: str, own: dict[str, str],
    inputs: list[tuple[str, Array]] | None, cotangent: int,
) -> Answer:  # fmt: skip
    """The answer to the verb `inspect`; own: KIND by FILE.py:CLASS."""
    keras = backend.keras
    known = {load_class(place): kind for place, kind in own.items()}
    scope = (getattr(keras, "saving", None) or keras.utils).custom_object_scope
    with scope({cls.__name__: cls for cls in known}):
        try:
            whole = described.found(keras, where)
            if dtype is not None:
                whole = in_dtype(whole, dtype)
        except described.Refused as reason:
            return {"refused": str(reason)}
        found = places(keras, whole, known)
        layers = [told(keras, place) for place in found]
        answer: Answer = {"inputs": taken(keras, whole), "layers": layers}
        if inputs is not None:
            answer.update(_ran(backend, mode, whole, found, dict(inputs), cotangent))
    return answer


def told(keras: Any, place: Place) -> Answer:
    """A layer, as it says of itself what it is."""
    layer = place.layer
    said: Answer = {
        "path": place.path,
        "kind": place.kind,
        "is_direction": place.is_direction,
        "refused": place.refused,
    }
    if not place.refused:
        policy = getattr(layer, "dtype_policy", None)
        options = ("return_sequences", "return_state", "go_backwards", "stateful")
        said.update(
            options=described.all_options(keras, layer),
            cells=place.cells,
            dtype=str(getattr(policy, "name", policy or layer.dtype)),
            **{name: bool(getattr(layer, name)) for name in options},
            zero_output_for_mask=bool(getattr(layer, "zero_output_for_mask", False)),
            weights={path: encode(array) for path, array in weights_of(layer).items()},
        )
    return said


# what the model takes


def taken(keras: Any, whole: Any) -> list[Answer]:
    """Its inputs, as far as it knows them.

    {"name", "shape", "dtype", "indices": how many there are for the smallest Embedding that takes
    it, "masked": the number that is skipped, if a Masking or Embedding skips one}.
    """
    try:
        tensors = flat(whole.inputs if hasattr(whole, "inputs") else whole.input)
        assert tensors[0] is not None
    except (AttributeError, ValueError, AssertionError, IndexError):
        shape = described.input_shape(whole)
        return [] if not shape else [{"name": "x", "shape": list(shape), "dtype": "float32"}]
    names = getattr(whole, "input_names", None) or [each.name for each in tensors]
    answers = []
    for name, tensor in zip(names, tensors):
        kind = str(getattr(tensor.dtype, "name", tensor.dtype))
        said: Answer = {"name": str(name), "shape": list(tensor.shape), "dtype": kind}
        for layer in takers(keras, whole, tensor):
            if isinstance(layer, keras.layers.Embedding):
                said["indices"] = min(said.get("indices", layer.input_dim), int(layer.input_dim))
                if layer.mask_zero:
                    said["masked"] = 0
            elif isinstance(layer, keras.layers.Masking):
                said["masked"] = float(layer.mask_value)
        answers.append(said)
    return answers


def takers(keras: Any, model: Any, tensor: Any) -> list[Any]:
    """The layers that take this input of the model, those of models in it in their place."""
    inner = getattr(model, "_functional", None) or model
    found = []
    for layer in getattr(inner, "layers", []):
        for node in getattr(layer, "_inbound_nodes", []):
            each = getattr(node, "input_tensors", None)
            each = flat(node.keras_inputs if each is None else each)
            at = [i for i, one in enumerate(each) if one is tensor]
            if at and isinstance(layer, keras.Model) and hasattr(layer, "inputs"):
                within = getattr(layer, "_functional", None) or layer
                for i in at:
                    found += takers(keras, within, flat(within.inputs)[i])
            elif at:
                found.append(layer)
    return found


def arguments(whole: Any, inputs: dict[str, Any]) -> Any:
    """The inputs as the model is called with them."""
    struct = getattr(whole, "_inputs_struct", getattr(whole, "_nested_inputs", None))
    known = [str(n) for n in getattr(whole, "input_names", None) or ()]
    if not known and getattr(whole, "inputs", None):
        known = [each.name for each in flat(whole.inputs)]
    if len(inputs) == 1:
        only = next(iter(inputs.values()))
        return {known[0]: only} if isinstance(struct, dict) and known else only
    if isinstance(struct, dict) or not known:
        return dict(inputs)
    return [inputs[name] for name in known]


# running it


def _ran(
    backend: Backend, mode: str, whole: Any, found: list[Place], inputs: dict[str, Array],
    cotangent: int,
) -> Answer:  # fmt: skip
    tensors = {f"input {name}": backend.tensor(array) for name, array in inputs.items()}
    together = Together(whole, [place.layer for place in found if not place.refused])

    def output(tensors: Tensors) -> list[Any]:
        mine = {n.split(" ", 1)[1]: t for n, t in tensors.items() if n.startswith("input ")}
        return flat(whole(arguments(whole, mine)))

    watch = Watch(backend.keras, found)

    def compute(tensors: Tensors) -> Tensors:
        outputs, calls = watch.run(lambda: output(tensors))
        return {"outputs": outputs, "calls": calls}

    reset(together.layers)
    results = backend.run(compute, [together], tensors, mode)
    numbers = watch.calls
    calls = arrays(backend, results["calls"])
    outputs = arrays(backend, results["outputs"])
    answer: Answer = {
        "outputs": [encode(each) for each in outputs],
        "calls": [{"layer": i, **encoded(call)} for i, call in zip(numbers, calls)],
    }
    if not backend.differentiates:
        return {**answer, "gradients": {"unsupported": f"the {backend.name} backend has none"}}
    return {
        **answer,
        "gradients": _gradients(
            backend, mode, found, together, tensors, output, calls, numbers, outputs, cotangent
        ),
    }


def _gradients(
    backend: Backend, mode: str, found: list[Place], together: Together, given: Tensors,
    output: Any, calls: list[dict[str, Array]], numbers: list[int], outputs: list[Array], seed: int,
) -> Answer:  # fmt: skip
    """Of the sum of all outputs times numbers that are drawn: what reaches each layer.

    {"weights": {place: {path: array}}, "calls": [{"x", "mask", "start 0", ...: what it took,
    "d x", "d start 0", ...: the gradients}], "probed": {place: see `probed.probed`}}
    """
    rng = np.random.default_rng(seed)
    given, wanted = dict(given), []
    summed = [i for i, each in enumerate(outputs) if is_float(each)]
    for i in summed:
        drawn = rng.normal(size=outputs[i].shape).astype(np.float32)
        given[f"cotangent {i}"] = backend.tensor(drawn)
    for number, call in enumerate(calls):
        for name, array in call.items():
            own = name == "x" or name.startswith("given ")
            own |= name.startswith("start ") and not states_of(found[numbers[number]].layer)
            if own and is_float(array):
                wanted.append(f"{number} {name}")
                given[wanted[-1]] = backend.tensor(np.zeros(array.shape, array.dtype))
    watch = Watch(backend.keras, found)

    def compute(tensors: Tensors) -> Tensors:
        watch.nudges = tensors
        outputs, calls = watch.run(lambda: output(tensors))
        loss = None
        for i in summed:
            part = outputs[i] * backend.cast(tensors[f"cotangent {i}"], outputs[i].dtype)
            term = backend.sum(backend.cast(part, "float32"))
            loss = term if loss is None else loss + term
        taken = [{n: t for n, t in c.items() if not n.startswith("given ")} for c in calls]
        return {"loss": loss, "calls": taken}

    reset(together.layers)
    try:
        results, of_weights, of_inputs = backend.differentiate(
            compute, [together], given, wanted, mode
        )
        took = arrays(backend, results["calls"])
        for name, gradient in zip(wanted, of_inputs):
            at, what = name.split(" ", 1)
            took[int(at)][f"d {what}"] = backend.array(gradient)
        by_id = {id(w): g for w, g in zip(together.trainable_weights, of_weights)}
    except Exception as error:  # whatever a framework raises is an observation
        return {"error": f"{type(error).__name__}: {error}"[:2000]}
    answer: Answer = {
        "calls": [encoded({n: a for n, a in c.items() if "given " not in n}) for c in took],
        "weights": {},
        "probed": {},
    }
    for index, place in enumerate(found):
        if place.refused or index not in numbers:
            continue
        own_weights = [(p, w) for p, w in named_weights(place.layer) if id(w) in by_id]
        answer["weights"][str(index)] = {
            path: encode(backend.array(by_id[id(weight)])) for path, weight in own_weights
        }
        mine = [call for number, call in zip(numbers, took) if number == index]
        answer["probed"][str(index)] = _probed(backend, mode, place, mine)
    return answer


def _probed(backend: Backend, mode: str, place: Place, calls: list[dict[str, Array]]) -> Answer:
    """All calls of a layer as one, where they are alike."""
    if len({tuple(sorted((n, a.shape[1:]) for n, a in c.items())) for c in calls}) > 1:
        return {"unsupported": "it is called in several ways, and its weights are shared by them"}
    call = {name: np.concatenate([each[name] for each in calls]) for name in calls[0]}
    start = [call[name] for name in sorted(call) if name.startswith("start ")]
    layer, mask = place.layer, call.get("mask")
    of = call["d given 0"]
    shown = of
    if not layer.return_sequences:
        shown = np.zeros((len(of), call["x"].shape[1], of.shape[-1]), of.dtype)
        shown[:, -1] = of
    cotangents = {"shown": shown}
    if layer.return_state:
        count = sum(name.startswith("d given ") for name in call)
        cotangents.update((f"state {i - 1}", call[f"d given {i}"]) for i in range(1, count))
    try:
        said = probed(backend, place, call["x"], mask, start, cotangents, mode)
    except Exception as error:  # a copy of a user's own class may be refused by it
        return {"error": f"{type(error).__name__}: {error}"[:2000]}
    return {**said, "cotangents": encoded(cotangents)}


class Together:
    """The weights of the recurrent layers, and all that may change when the model is called."""

    def __init__(self, whole: Any, layers: list[Any]) -> None:
        self.layers = layers
        weights = [weight for layer in layers for weight in layer.trainable_weights]
        self.trainable_weights = list({id(weight): weight for weight in weights}.values())
        self.variables = list(whole.variables)
        self.states = None


def arrays(backend: Backend, nested: Any) -> Any:
    if isinstance(nested, dict):
        return {name: arrays(backend, each) for name, each in nested.items()}
    if isinstance(nested, (list, tuple)):
        return [arrays(backend, each) for each in nested]
    return backend.array(nested)


def encoded(call: dict[str, Array]) -> dict[str, Any]:
    return {name: encode(array) for name, array in call.items()}


def is_float(array: Array) -> bool:
    return "float" in array.dtype.name


# another dtype


def in_dtype(whole: Any, dtype: str) -> Any:
    """The same layer or model, its weights rounded to this policy, in which it computes."""
    made = type(whole).from_config(_retyped(whole.get_config(), dtype))
    if not made.built:
        shape = described.input_shape(whole)
        if shape is None:
            raise described.Refused(
                "it does not say what it takes, so that it cannot be made in another dtype; "
                "without --dtype it is judged as it is"
            )
        made.build(tuple(shape))
    made.set_weights(whole.get_weights())
    return made


def _retyped(config: Any, dtype: str) -> Any:
    if isinstance(config, (list, tuple)):
        return [_retyped(each, dtype) for each in config]
    if not isinstance(config, dict) or config.get("class_name") in _OF_INPUTS:
        return config
    found = {}
    for key, value in config.items():
        policy = value.get("config", {}).get("name") if isinstance(value, dict) else value
        if key == "dtype" and str(policy).startswith(_FLOATS):
            found[key] = dtype
        elif key == "recurrent_initializer":  # it may not be drawn in half precision
            found[key] = "zeros"
        else:
            found[key] = _retyped(value, dtype)
    return found
