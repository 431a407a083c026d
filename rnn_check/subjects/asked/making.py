"""How is a Keras layer, or an optimizer, made of its description?"""

from __future__ import annotations

from typing import Any

from .backends import Backend
from .named import (
    CELLS,
    FAMILIES,
    KINDS,
    LAYERS,
    OPTIMIZER,
    OPTIMIZERS,
    SCHEDULES,
    changed,
    default_name,
    is_recurrent,
    named,
    refusals,
    undrawn,
    within,
)
from .own import custom_activation, custom_cell, load_class
from .parts import Layers, own_output
from .session import Descriptions, Session, Unsupported
from .wire import Array


class Making(Session):
    """What makes layers. replace: classes that stand in for Keras's, "FILE.py:CLASS" each."""

    backend: Backend
    replace: dict[str, str] = {}  # noqa: RUF012  of each request its own

    def described(self, layers: Descriptions) -> Descriptions:
        """The descriptions, each with a name, if they may be made, and this Keras has it all."""
        refused = [problem for spec in layers for problem in refusals(spec)]
        if refused:
            raise ValueError("{}: {}".format(*refused[0]).lstrip(".: "))
        specs = named(layers)
        if lacks := self.lacks(specs):
            raise Unsupported(lacks)
        return specs

    def lacks(self, specs: Descriptions) -> str:
        """What the layers need that this Keras does not have; empty if it has it all."""
        keras, version = self.backend.keras, self.backend.keras_version
        for spec in within(specs):
            name = str(spec.get("activation") or "linear").split()[-1]  # also of "callable NAME"
            try:
                keras.activations.get(name)
            except ValueError:
                return f"Keras {version} has no activation {name!r}"
            kind = spec["kind"]  # also of initializers and their like
            given = kind in self.replace or kind == "CustomCell"
            if kind in {**LAYERS, **CELLS} and not given and not hasattr(keras.layers, kind):
                return f"Keras {version} has no {kind}; --layer names a class that stands in for it"
            if is_recurrent(kind) and not hasattr(keras, "ops"):
                for key in {"seed", "use_cudnn"} & spec.keys():
                    return f"{kind} of Keras {version} takes no {key}"
        return ""

    def layer(self, spec: dict[str, Any], **more: Any) -> Any:
        """The layer or cell of this description, not yet built, and what it is made of.

        more: what its constructor takes that no description holds.
        """
        config = {key: self.argument(key, value) for key, value in spec.items()}
        kind = config.pop("kind")
        if self.dtype is not None:
            config["dtype"] = self.dtype
        return self.class_of(kind)(**config, **more)

    def class_of(self, kind: str) -> Any:
        if kind in self.replace:
            return load_class(self.replace[kind])
        if kind == "CustomCell":
            return custom_cell(self.backend.keras)
        if kind not in {**LAYERS, **CELLS}:
            raise ValueError(f"unknown kind {kind!r}")
        return getattr(self.backend.keras.layers, kind)

    def argument(self, key: str, value: Any) -> Any:
        """What a key of a description means to Keras."""
        keras = self.backend.keras
        if key == "cell" and isinstance(value, list):
            return [self.argument(key, each) for each in value]
        if isinstance(value, dict) and key in ("cell", "layer", "backward_layer"):
            name = {} if key == "cell" else {"name": default_name(value["kind"])}
            return self.layer({**name, **value})
        family = key.rsplit("_", 1)[-1]
        if isinstance(value, dict) and family in KINDS:
            if value["kind"] not in KINDS[family]:
                raise ValueError(f"unknown {family} {value['kind']!r}")
            options = {name: given for name, given in value.items() if name != "kind"}
            return getattr(getattr(keras, family + "s"), value["kind"])(**options)
        if key == "activation" and isinstance(value, str) and value.startswith("callable "):
            return custom_activation(keras, value.split()[1])
        return value

    def buildable(self, spec: dict[str, Any], **changes: Any) -> Any:
        """The layer where it does not matter what initializers draw.

        No framework has a QR decomposition in half precision (TensorFlow: in float16 alone), so
        that the default recurrent_initializer cannot be drawn, and the layer not be built.
        """
        config = changed(spec, changes)
        return self.layer(undrawn(config) if self.dtype in ("float16", "bfloat16") else config)

    def to_be_given(self, spec: dict[str, Any], weights: dict[str, Array]) -> Any:
        """The layer, whose weights will be these: their random first values are then not drawn.

        Drawing them, and making them orthogonal, is most of the time that a layer takes.
        """
        config = dict(spec)
        if config["kind"] in FAMILIES and config["kind"] not in self.replace:
            for name in {"kernel", "recurrent_kernel"} & weights.keys():
                config.setdefault(name.replace("_kernel", "") + "_initializer", "zeros")
        return self.buildable(config)

    def build(self, layers: Layers, shape: Any) -> None:
        """The layers, one after the other, for input of this shape."""
        for layer in layers:
            layer.build(shape)
            if layer is not layers[-1]:
                shape = own_output(layer, layer.compute_output_shape(shape))

    def optimizer(self, kind: str, **options: Any) -> Any:
        if kind not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {kind!r}")
        for name in options:
            if name not in ("learning_rate", *OPTIMIZERS[kind], *OPTIMIZER):
                raise ValueError(f"{kind} takes no {name!r} here")
        if isinstance(options.get("learning_rate"), dict):
            options["learning_rate"] = self.schedule(**options["learning_rate"])
        there = self.replace.get(kind)
        cls = getattr(self.backend.keras.optimizers, kind) if there is None else load_class(there)
        return cls(**options)

    def schedule(self, kind: str, **options: Any) -> Any:
        if kind not in SCHEDULES:
            raise ValueError(f"unknown schedule {kind!r}")
        for name in options:
            if name not in SCHEDULES[kind]:
                raise ValueError(f"{kind} takes no {name!r} here")
        return getattr(self.backend.keras.optimizers.schedules, kind)(**options)
