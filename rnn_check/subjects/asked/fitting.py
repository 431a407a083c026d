"""How is a keras.Model trained, and what is seen of it while it is?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .backends import Backend
from .models import Inputs, Models, Stack, inputs_of, is_of_its_own
from .named import OPTIMIZER, OPTIMIZERS, SCHEDULES
from .parts import Layers, has_more_outputs, own_output, reset, weight_name
from .session import Answer, Maybe, Unsupported
from .wire import Array, encode

# what holds an optimizer's states, one of each weight that is trained
_ADAM = {"m": "_momentums", "v": "_velocities", "s": "_velocity_hats"}
STATES_OF = {
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "SGD": {"m": "momentums"},
    "RMSprop": {"v": "_velocities", "a": "_average_gradients", "m": "_momentums"},
}
STATES_OF_ANY = {
    "accumulated": "_accumulated_gradients", "average": "_model_variables_moving_average"
}  # fmt: skip


class Fitting(Models):
    """The verb that trains."""

    def fit(
        self,
        of: Stack,
        optimizer: dict[str, Any],
        loss: str,
        keep: Sequence[str] = (),
        epochs: int = 1,
        batch_size: int | None = None,
        x: Maybe = None,
        initial_state: Any = None,
        mask: Maybe = None,
        target: Maybe = None,
        after: str = "",
        sample_weight: Maybe = None,
        class_weight: dict[str, float] | None = None,
        metrics: Sequence[str] = (),
        by_batch: bool = False,
        reset_states: bool = False,
    ) -> Answer:
        self.can_compute()
        scaled = self.dtype == "mixed_float16" and bool({"scale", "loss", "reported"} & {*keep})
        inputs = inputs_of(x, initial_state, mask)
        weighs: dict[str, Any] = {}
        if sample_weight is not None:
            weighs["sample_weight"] = sample_weight.astype(self.backend.keras.backend.floatx())
        if class_weight is not None:
            weighs["class_weight"] = {int(name): each for name, each in class_weight.items()}
        size = min(batch_size or len(inputs["x"]), len(inputs["x"]))
        batches = epochs * -(-len(inputs["x"]) // size)
        callbacks = [self.resetting(of)] if reset_states else []
        if "updates" in keep:
            more = {**weighs, "callbacks": callbacks}
            compiling = self.compiling(batches)
            return self.watched(of, optimizer, loss, epochs, size, inputs, target, more, compiling)
        model = self.compiled_model(
            of, inputs, loss, optimizer, metrics, scaled, weighted=bool(weighs), batches=batches
        )
        if not after:
            reset(of.layers)
        if by_batch:
            reports = self.fit_by_batch(
                of, model, inputs, epochs, size, target, weighs, reset_states
            )
            return {name: {"reported": reports}[name] for name in keep}
        how: dict[str, Any] = {"batch_size": size, "epochs": epochs, "shuffle": False, "verbose": 0}
        how.update(weighs, callbacks=callbacks)
        given = self.arrays(of, inputs), self.target(model, target)
        if "reported" in keep:
            weight = weighs.get("sample_weight")
            how["validation_data"] = given if weight is None else (*given, weight)
        history = model.fit(*given, **how).history
        found = {"loss": encode(np.asarray(history["loss"])), "left": self.left(of)}
        found["scale"] = encode(np.asarray(float(model.optimizer.initial_scale if scaled else 1)))
        found["reported"] = {name: encode(np.asarray(each)) for name, each in history.items()}
        return {name: found[name] for name in keep}

    def resetting(self, of: Stack) -> Any:
        """A callback that resets what is stateful at the end of an epoch."""

        class Resetting(self.backend.keras.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                reset(of.layers)

        return Resetting()

    def fit_by_batch(
        self,
        of: Stack,
        model: Any,
        inputs: Inputs,
        epochs: int,
        size: int,
        target: Maybe,
        weighs: dict[str, Any],
        reset_states: bool,
    ) -> Answer:
        """Batch after batch by train_on_batch: what it says of each, by name."""
        wanted, found = self.target(model, target), []
        for at in [*range(0, len(wanted), size)] * epochs:
            part = slice(at, at + size)
            if reset_states and not at:
                reset(of.layers)
            batch = self.arrays(of, {name: array[part] for name, array in inputs.items()})
            how = dict(weighs)
            if "sample_weight" in how:
                how["sample_weight"] = how["sample_weight"][part]
            found.append(model.train_on_batch(batch, wanted[part], return_dict=True, **how))
        return {name: encode(np.asarray([float(s[name]) for s in found])) for name in found[0]}

    def watched(
        self,
        of: Stack,
        optimizer: dict[str, Any],
        loss: str,
        epochs: int,
        size: int,
        inputs: Inputs,
        target: Maybe,
        more: dict[str, Any],
        compiling: dict[str, bool],
    ) -> Answer:
        """One batch is to TensorFlow a tf.data.Dataset of it, repeated, with steps_per_epoch=1: fit
        trains on the same numbers as with arrays, but need not build a pipeline for every epoch
        (which is four fifths of its time). Of several batches fit makes its own.
        """
        keras = self.backend.keras
        if not self.backend.differentiates:
            raise Unsupported(f"the {self.backend.name} backend has no gradients")
        if self.dtype in ("float16", "bfloat16"):
            raise Unsupported(f"training of weights that are kept in {self.dtype} is not recorded")
        if self.dtype == "float64" and keras.backend.floatx() != "float64":
            raise Unsupported("training whose loss is of another dtype is not recorded")
        if inputs.keys() != {"x"} or target is None:
            raise ValueError("training is recorded of x and target, without initial_state and mask")
        model = self.model_to_watch(of, self.input_dtype(of, "x", inputs["x"]))
        kind, made = optimizer["kind"], self.optimizer(**optimizer)
        made.build(model.trainable_variables)  # so that there is something before the first
        scaled = self.scaling(made) if self.dtype == "mixed_float16" else made
        model.compile(loss=self.loss_to_compile(loss), optimizer=scaled, **compiling)
        recorder = training_recorder(self.backend, of.layers, made, kind)
        mixed = self.dtype in ("mixed_float16", "mixed_bfloat16")
        dtype = np.dtype(self.backend.floatx if mixed else self.dtype or self.backend.floatx)
        x = inputs["x"] if is_of_its_own(inputs["x"]) else inputs["x"].astype(dtype)
        batch: Any = x, target.astype(dtype)
        by: dict[str, Any] = {"batch_size": size}
        if (
            self.backend.name == "tensorflow"
            and size == len(target)
            and list(more) == ["callbacks"]
        ):
            data = self.backend.package.data.Dataset.from_tensors(batch).repeat()
            batch, by = (data,), {"steps_per_epoch": 1}
        more["callbacks"] = [recorder, *more["callbacks"]]
        history = model.fit(*batch, epochs=epochs, shuffle=False, verbose=0, **by, **more)
        base = {name: getattr(made, name, None) for name in OPTIMIZER}
        constants = {name: told(getattr(made, name)) for name in OPTIMIZERS[kind]}
        constants.update({name: told(v) for name, v in base.items() if v is not None})
        if isinstance(optimizer["learning_rate"], dict):
            given = made.get_config()["learning_rate"]["config"]
            constants.update(told_of_schedule(given, SCHEDULES[optimizer["learning_rate"]["kind"]]))
        else:
            constants["learning_rate"] = float(self.backend.array(made.learning_rate))
        return {
            "loss": encode(np.asarray(history.history["loss"])),
            "updates": {
                **recorder.recorded(),
                "optimizer": constants,
                "jit_compile": bool(getattr(model, "jit_compile", False)),
            },
        }

    def model_to_watch(self, of: Stack, dtype: str | None) -> Any:
        """Sequential, unless its last layer returns states as well, on which no loss is taken."""
        keras = self.backend.keras
        stateful = any(getattr(layer, "stateful", False) for layer in of.layers)
        shape = (of.shape[0] if stateful else None, *of.shape[1:])
        given = keras.Input(batch_shape=shape, dtype=dtype)
        if not has_more_outputs(of.layers[-1]):
            return self.model_class("Sequential")([given, *of.layers])
        value = given
        for layer in of.layers:
            value = own_output(layer, layer(value))
        return self.model_class("Model")(given, value)


def told(constant: Any) -> bool | float:
    """An optimizer's option."""
    return constant if isinstance(constant, bool) else float(constant)


def told_of_schedule(config: dict[str, Any], options: Sequence[str]) -> dict[str, bool | float]:
    """The numbers of a schedule, those of a list one by one."""
    found = {}
    for name in options:
        value = config.get(name)
        if isinstance(value, (list, tuple)):
            found.update({f"{name}[{i}]": told(each) for i, each in enumerate(value)})
        elif value is not None:
            found[name] = told(value)
    return found


def states_held(optimizer: Any, kind: str) -> dict[str, list[Any]]:
    """What an optimizer of that kind holds of each weight that is trained, by its short name."""
    names = {**STATES_OF[kind], **STATES_OF_ANY}
    held = {name: getattr(optimizer, attribute, None) for name, attribute in names.items()}
    return {name: list(variables) for name, variables in held.items() if variables}


def trained(layers: Layers) -> list[tuple[str, Any]]:
    """The weights that are trained, each with its layer's name, as optimizers have them."""
    return [(layer.name, weight) for layer in layers for weight in layer.trainable_weights]


def told_of_states(backend: Backend, layers: Layers, optimizer: Any, kind: str) -> Answer:
    """{"iterations", state: {layer: {path: array}}} as they are now."""
    if optimizer is None:
        raise ValueError("nothing has trained it, as far as it says")
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of what scales a loss
    found: Answer = {"iterations": encode(backend.array(optimizer.iterations))}
    for name, variables in states_held(optimizer, kind).items():
        tables: dict[str, Any] = {}
        for (layer, weight), variable in zip(trained(layers), variables):
            tables.setdefault(layer, {})[weight_name(weight)] = encode(backend.array(variable))
        found[name] = tables
    return found


def training_recorder(backend: Backend, layers: Layers, optimizer: Any, kind: str) -> Any:
    """A callback that reads weights and optimizer before the first update and after each."""
    named = trained(layers)
    groups = {"weights": [weight for _, weight in named], **states_held(optimizer, kind)}
    read: dict[str, list[list[Array]]] = {name: [] for name in groups}
    counted: list[Array] = []
    ended: list[Array] = []

    class Recorder(backend.keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_train_begin(self, logs: Any = None) -> None:
            if hasattr(self.model, "jax_state_sync"):  # which keeps them apart while it trains
                self.model.jax_state_sync()
            for name, variables in groups.items():
                read[name].append([backend.array(variable) for variable in variables])
            counted.append(backend.array(optimizer.iterations))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.on_train_begin()

        def on_train_end(self, logs: Any = None) -> None:
            ended.extend(backend.array(variable) for variable in groups["weights"])

        def recorded(self) -> dict[str, Any]:
            answer: dict[str, Any] = {"iterations": encode(np.stack(counted))}
            for name, states in read.items():
                tables: dict[str, Any] = {}
                for (layer, weight), steps in zip(named, zip(*states)):
                    tables.setdefault(layer, {})[weight_name(weight)] = encode(np.stack(steps))
                answer[name] = tables
            last: dict[str, Any] = {}
            for (layer, weight), array in zip(named, ended):
                last.setdefault(layer, {})[weight_name(weight)] = encode(array)
            return {**answer, "ended": last}

    return Recorder()
