"""What may a description of layers name, and what is a layer called?

A claim is data, whoever wrote it. These tables are all that a description may name: no class that
loads a program or a vocabulary or opens a file is among them, and every argument is a scalar.
Whoever reads claims checks them by `refusals` as well, and says what it says.

A description is {"kind": class in keras.layers, "name": ..., Keras's own keys}. "layer" (of
Bidirectional, TimeDistributed), "backward_layer" (of Bidirectional) and "cell" (of RNN) are such
descriptions too, "cell" also a list of them; an initializer, a regularizer or a constraint may be
{"kind": its class, its arguments}; the cell "CustomCell" is one that a user wrote, which computes
what SimpleRNNCell does; the activation "callable NAME" is a Python function that calls the
framework's activation of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

# the modules of their sessions
FRAMEWORKS = {
    **{"keras": "keras_", "torch": "torch_", "onnx": "onnx_", "onnxruntime": "onnx_"},
    **{"flax": "jax_", "equinox": "jax_"},
}


class Family(NamedTuple):
    """What a recurrent layer is, and its cell, which is called as the layer is, and "Cell".

    recurrence: what both compute, by the name of its definition. gates: how many kernels stand side
    by side in one. states: how many are carried. biases: how many Keras's default has; if more than
    one, they are rows. options: Keras's keys of both beyond those of all, each with a value, by
    which a class of the user's own is tried.
    """

    recurrence: str
    gates: int = 1
    states: int = 1
    biases: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012  never changed


FAMILIES: dict[str, Family] = {
    "SimpleRNN": Family("simple"),
    "LSTM": Family(
        "lstm",
        gates=4,
        states=2,
        options={"recurrent_activation": "sigmoid", "unit_forget_bias": False},
    ),
    "GRU": Family(
        "gru",
        gates=3,
        biases=2,
        options={"recurrent_activation": "sigmoid", "reset_after": True},
    ),
}
_CARRYING = ("RNN", "Bidirectional")  # which carry the states of others

_CELL = ("units", "activation", "use_bias")
_RECURRENT = (
    *_CELL,
    *("return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
    *("zero_output_for_mask", "trainable", "dropout", "recurrent_dropout", "seed"),
    *(f"{part}_initializer" for part in ("kernel", "recurrent", "bias")),
    *(f"{part}_regularizer" for part in ("kernel", "recurrent", "bias", "activity")),
    *(f"{part}_constraint" for part in ("kernel", "recurrent", "bias")),
)
_GATED = ("implementation", "use_cudnn")  # of layers alone


def cell_of(kind: str) -> str:
    """The name of a layer's cell."""
    return f"{kind}Cell"


def keys_of_cell(family: Family) -> tuple[str, ...]:
    return (*_CELL, *family.options)


def keys_of_layer(family: Family) -> tuple[str, ...]:
    return (*_RECURRENT, *family.options, *(_GATED if family.gates > 1 else ()))


CELLS: dict[str, tuple[str, ...]] = {
    **{cell_of(kind): keys_of_cell(family) for kind, family in FAMILIES.items()},
    "CustomCell": _CELL,
}
LAYERS: dict[str, tuple[str, ...]] = {
    **{kind: keys_of_layer(family) for kind, family in FAMILIES.items()},
    "RNN": (
        *("cell", "return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
        "zero_output_for_mask",
    ),
    "Bidirectional": ("layer", "merge_mode", "backward_layer"),
    "TimeDistributed": ("layer",),
    "Dense": (
        *(*_CELL, "trainable", "kernel_regularizer", "bias_regularizer"),
        *("activity_regularizer", "kernel_constraint", "bias_constraint"),
    ),
    "Masking": ("mask_value",),
    "Embedding": ("input_dim", "output_dim", "mask_zero"),
}
WRAPPED: dict[str, Any] = {"Bidirectional": FAMILIES, "TimeDistributed": ("Dense",)}
# by the ends of the keys that take them: classes and what each takes
KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "initializer": {
        "Zeros": (),
        "Ones": (),
        "Constant": ("value",),
        "Identity": ("gain",),
        "Orthogonal": ("gain", "seed"),
        "RandomNormal": ("mean", "stddev", "seed"),
        "RandomUniform": ("minval", "maxval", "seed"),
        "TruncatedNormal": ("mean", "stddev", "seed"),
        "VarianceScaling": ("scale", "mode", "distribution", "seed"),
        "GlorotNormal": ("seed",),
        "GlorotUniform": ("seed",),
        "HeNormal": ("seed",),
        "HeUniform": ("seed",),
        "LecunNormal": ("seed",),
        "LecunUniform": ("seed",),
    },
    "regularizer": {"L1": ("l1",), "L2": ("l2",), "L1L2": ("l1", "l2")},
    "constraint": {"NonNeg": (), "MaxNorm": ("max_value", "axis")},
}
FILES = (".weights.h5", ".keras", ".h5")  # how the names end of files that may be read
ACTIVATIONS = (
    *("linear", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu"),
    *("softplus", "softsign", "sigmoid", "log_sigmoid", "exponential", "hard_sigmoid"),
    *(
        "swish",
        "hard_silu",
        "hard_swish",
        "hard_tanh",
        "hard_shrink",
        "soft_shrink",
        "tanh_shrink",
        "squareplus",
    ),
    *("sparse_plus", "sparse_sigmoid", "mish", "softmax", "log_softmax", "sparsemax"),
)
OPTIMIZERS: dict[str, tuple[str, ...]] = {  # their options beside a learning rate
    "Adam": ("beta_1", "beta_2", "epsilon", "amsgrad"),
    "AdamW": ("beta_1", "beta_2", "epsilon", "amsgrad"),
    "SGD": ("momentum", "nesterov"),
    "RMSprop": ("rho", "momentum", "epsilon", "centered"),
}
OPTIMIZER = (  # options of all of them
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum"),
    *("ema_overwrite_frequency", "gradient_accumulation_steps"),
)
SCHEDULES: dict[str, tuple[str, ...]] = {  # of learning rates
    "ExponentialDecay": ("initial_learning_rate", "decay_steps", "decay_rate", "staircase"),
    "CosineDecay": (
        *("initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps"),
    ),
    "PiecewiseConstantDecay": ("boundaries", "values"),
}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # of layers; what Keras is told in words
MOST_SIZE = 4096  # units, features, indices; and what `wrong` may ask for
MOST_ZEROS = 10**6  # in an array of the wrong shape


def refusals(spec: Any, kinds: Any = LAYERS) -> Iterator[tuple[str, str]]:
    """(where, what is wrong and what would be right) of all that a description may not say."""
    if not isinstance(spec, dict) or "kind" not in spec:
        yield "", "expected a table {kind = ...}"
        return
    kind = spec["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        yield ".kind", f"unknown kind {kind!r}; known: {', '.join(kinds)}"
        return
    known = {**LAYERS, **CELLS}[kind]
    for key, value in spec.items():
        if key == "name":
            if not isinstance(value, str) or not NAME.fullmatch(value):
                yield ".name", f"expected a letter, then letters, digits and _, got {value!r}"
        elif key == "cell" and key in known:
            several = isinstance(value, list)
            for index, part in enumerate(value if several else [value]):
                at = f".cell[{index}]" if several else ".cell"
                yield from ((at + where, problem) for where, problem in refusals(part, CELLS))
        elif key in ("layer", "backward_layer") and key in known:
            found = refusals(value, WRAPPED[kind])
            yield from ((f".{key}{where}", problem) for where, problem in found)
        elif key not in ("kind", *known):
            yield f".{key}", f"unknown key; known: {', '.join(known)}"
        else:
            yield from ((f".{key}{where}", problem) for where, problem in _of_option(key, value))


def _of_option(key: str, value: Any) -> Iterator[tuple[str, str]]:
    kinds = KINDS.get(key.rsplit("_", 1)[-1])
    if kinds is not None:
        kind = value.get("kind") if isinstance(value, dict) else value
        words = {kind: kind for kind in kinds}
        words.update({default_name(kind): kind for kind in kinds} if "Zeros" in kinds else {})
        if value is None:
            return
        if not isinstance(kind, str) or kind not in (kinds if isinstance(value, dict) else words):
            yield "", f"unknown {kind!r}; known: {', '.join(kinds)}"
            return
        for name, argument in value.items() if isinstance(value, dict) else ():
            if name not in ("kind", *kinds[kind]):
                yield f".{name}", f"unknown key; {kind} takes {', '.join(kinds[kind]) or 'none'}"
            elif why := not_scalar(argument):
                yield f".{name}", why
    elif key.endswith("activation"):
        custom = isinstance(value, str) and value.startswith("callable ")
        if custom and value.split(" ", 1)[1] not in ACTIVATIONS:
            yield "", f"unknown {value!r}; known: {', '.join(ACTIVATIONS)}"
        elif not custom and value is not None and not _is_word(value):
            yield "", f"expected the name of an activation, got {value!r}"
    elif why := not_scalar(value):
        yield "", why


def not_scalar(value: Any) -> str:
    """Why a value is none that Keras may be handed: a number, true or false, a word; else ""."""
    if value is None or isinstance(value, bool) or _is_word(value):
        return ""
    if isinstance(value, str):
        return f"expected a word of letters, digits and _, got {value!r}"
    if isinstance(value, (dict, list, tuple)):
        return "expected a number, true, false or a word"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return "expected a number that fits a float64, true, false or a word"
    if not -1.7976931348623157e308 <= number <= 1.7976931348623157e308:
        return f"expected a finite number, got {value}"
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        return f"expected an integer of 32 bits, got {value}"
    return ""


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def refusals_of_wrong(wrong: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same of what a layer is misused with: any scalar of any name, but no other class."""
    tables = ("layer", "backward_layer")
    every = ((f".{of}.{key}", key, v) for of in tables for key, v in (wrong.get(of) or {}).items())
    for where, key, value in every:
        if key in ("kind", "name", "cell", "layer", "backward_layer") or not _is_word(key):
            yield where, "not what a layer can be misused with; name an option of it"
        elif why := not_scalar(value):
            yield where, why
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > MOST_SIZE:
            yield where, f"expected at most {MOST_SIZE:,}, got {value}"
    for name in ("x_shape", "initial_state_shape", "mask_shape"):
        sizes, zeros = wrong.get(name) or [], 1
        for size in sizes:
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                yield f".{name}", f"expected sizes, 0 or more, got {size!r}"
                return
            zeros *= max(size, 1)
        if len(sizes) > 8 or zeros > MOST_ZEROS:
            yield f".{name}", f"expected at most 8 sizes whose product is at most {MOST_ZEROS:,}"


def default_name(kind: str) -> str:
    """Keras's own: SimpleRNN -> simple_rnn."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()


def is_recurrent(kind: str) -> bool:
    """Whether layers of this kind carry states."""
    return kind in FAMILIES or kind in _CARRYING


def family_of(kind: str) -> Family | None:
    """What a layer or a cell of this kind is; None of what is another layer or cell."""
    return FAMILIES.get(layer_of(kind))


def layer_of(kind: str) -> str:
    """The name of the layer whose cell this is, or of itself."""
    return kind[: -len("Cell")] if kind.endswith("Cell") else kind


def layer_computing(recurrence: str) -> str:
    """The layer that computes the recurrence of this name."""
    return next(kind for kind, family in FAMILIES.items() if family.recurrence == recurrence)


def within(node: Any) -> Iterator[dict[str, Any]]:
    """The descriptions of layers and cells, those inside others included."""
    if isinstance(node, dict) and "kind" in node:
        yield node
    if isinstance(node, (dict, list)):
        for part in node.values() if isinstance(node, dict) else node:
            yield from within(part)


def undrawn(spec: dict[str, Any]) -> dict[str, Any]:
    """The description of a layer or cell whose recurrent kernels are not drawn, if it is free to
    say so; those inside it as well."""
    config = dict(spec)
    if family_of(config["kind"]) is not None:
        config.setdefault("recurrent_initializer", "zeros")
    for key in ("layer", "backward_layer", "cell"):
        inner = config.get(key)
        if isinstance(inner, dict):
            config[key] = undrawn(inner)
        elif isinstance(inner, list):
            config[key] = [undrawn(each) for each in inner]
    return config


def changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The description with these keys; those of wrapped layers go to each that it wraps."""
    wrapped = [key for key in ("layer", "backward_layer") if key in spec]
    if not wrapped:
        return {**spec, **changes}
    own = {k: v for k, v in changes.items() if k in ("merge_mode", "name")}
    inner_changes = {k: v for k, v in changes.items() if k not in own}
    return {**spec, **own, **{key: {**spec[key], **inner_changes} for key in wrapped}}


def named(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each with a name; default names are counted as Keras counts them: dense, dense_1, ..."""
    counted: dict[str, int] = {}
    answer = []
    for spec in specs:
        name = default_name(spec["kind"])
        if "name" not in spec:
            number = counted.get(name, 0)
            counted[name] = number + 1
            name += f"_{number}" if number else ""
        answer.append({"name": name, **spec})
    return answer
