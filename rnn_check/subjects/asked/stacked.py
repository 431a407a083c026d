"""How does a framework obey that has recurrent layers and no models: made, run, read back?

Whoever has such a framework says what of a description it takes, and writes how a layer is made and
called; the layers are called here, one after the other, and what they say is kept.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .called import Derived, Given, Run, Stack, Tensor
from .layouts import RECURRENT_BIAS, units_of
from .machine import ENVIRONMENT, SETTINGS, cpu_model, packages
from .named import named, refusals
from .parts import STATES
from .session import Answer, Descriptions, Made, Maybe, Session, Unsupported
from .weight_files import Found, described_in
from .wire import Array, decode, encode

Takes = Mapping[str, Mapping[str, tuple[Any, ...]]]
BOTH = (True, False)
# what means the same to every framework; of any other option any value but these is one that it
# does not have
MEANS_NOTHING = (None, False, 0)
RECURRENT: dict[str, tuple[Any, ...]] = {
    **{"use_bias": BOTH, "return_sequences": BOTH, "return_state": BOTH, "go_backwards": BOTH},
    "unroll": BOTH,  # it is the same loop, however it is run
    "zero_output_for_mask": BOTH,
    "unit_forget_bias": BOTH,  # of weights that are given
}


class Stacked(Session):
    """takes: {kind: {option: values that it has}}. dtypes: that it computes in. draws: whether its
    layers have weights before they are given any."""

    takes: Takes = {}  # noqa: RUF012  never changed
    dtypes: tuple[str, ...] = ("float32", "float64")
    draws = True
    differentiates = True

    # what a framework says

    def version(self) -> str:
        raise NotImplementedError

    def threads(self) -> int:
        raise NotImplementedError

    def module(self, spec: dict[str, Any], size: int) -> Any:
        """The layer of this description, for input of F = size features."""
        raise NotImplementedError

    def read(self, module: Any, spec: dict[str, Any]) -> dict[str, Array]:
        """Its weights by Keras's paths, as Keras has them."""
        raise NotImplementedError

    def write(self, module: Any, spec: dict[str, Any], own: dict[str, Array]) -> None:
        raise NotImplementedError

    def dense(self, module: Any, spec: dict[str, Any], x: Tensor) -> Tensor:
        raise NotImplementedError

    def recur(
        self,
        module: Any,
        spec: dict[str, Any],
        x: Tensor,
        starts: Sequence[Tensor],
        lengths: Sequence[int] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The sequence (B,T,H), in the order in which Keras returns it, and the last states (B,H).

        starts: the initial states; none are zeros. lengths: of each sample the steps that count.
        """
        raise NotImplementedError

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Side by side, in the last axis."""
        raise NotImplementedError

    def tensor(self, array: Array) -> Tensor:
        return np.ascontiguousarray(array, dtype=self.dtype)

    def array(self, tensor: Tensor) -> Array:
        return np.asarray(tensor)

    def settings(self) -> dict[str, str]:
        return {}

    # the verbs

    def identity(self) -> Answer:
        settings = {name: value for name, value in ENVIRONMENT.items() if SETTINGS.match(name)}
        settings.update(self.settings())
        return {
            **{"framework": self.framework, "backend": self.framework},
            **{"backend_version": self.version(), "python": platform.python_version()},
            **{"numpy": np.__version__, "device": "CPU", "packages": packages()},
            **{"dtype": "float32", "modes": ["eager"], "gradients": self.differentiates},
            **{"cpu": cpu_model(), "threads": self.threads()},
            **{"platform": platform.platform(), "settings": settings},
        }

    def begin(self, how: Answer) -> None:
        super().begin(how)
        if self.mode != "eager":
            raise Unsupported(f"{self.framework} has no mode {self.mode!r} here")
        self.dtype = self.dtype or "float32"
        if self.dtype not in self.dtypes:
            raise Unsupported(f"{self.framework} is not asked in {self.dtype}")

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
        **more: Any,
    ) -> Stack:
        self.takes_no(more)
        if drawn:
            raise Unsupported(f"{self.framework} draws its weights in a way of its own")
        if model is not None:
            raise self.has_no("keras.Model")
        given = {name: dict(table) for name, table in (weights or {}).items()}
        if isinstance(like, Stack):
            given.update(self.arrays(like))
        for name, table in (below or {}).items():
            for path, rows in table.items():
                given[name][path] = np.concatenate([given[name][path], rows])
        specs, size, modules = named(layers), input_shape[-1], []
        for spec in specs:
            self.check(spec)
            if size is None:
                raise ValueError("expected the number of features, got null")
            module = self.module(spec, size)
            self.give(module, spec, given.pop(spec["name"], {}))
            modules.append(module)
            size = units_of(spec)
        if not isinstance(like, Stack) and given:
            raise ValueError(f"weights for {sorted(given)}, which are none of the layers")
        return Stack(specs, modules)

    def takes_no(self, more: Mapping[str, Any]) -> None:
        """Raises Unsupported for arguments of a verb that are Keras's alone."""
        for name in more:
            raise self.has_no(name)

    def give(self, module: Any, spec: dict[str, Any], given: dict[str, Array]) -> None:
        own = self.read(module, spec)
        if not self.draws and (lacks := [path for path in own if path not in given]):
            raise Unsupported(f"{self.framework} draws no weights, and no {lacks[0]} is given")
        for path, array in given.items():
            way, _, last = path.rpartition(".")
            bias = f"{way}.bias".lstrip(".")
            if last == RECURRENT_BIAS and bias in own and own[bias].ndim == 1:
                own[path] = own[bias]
            if path not in own:
                raise ValueError(f"{spec['name']} has no weight {path!r}, only {list(own)}")
            if array.shape != own[path].shape:
                raise ValueError(
                    f"{path} of {spec['name']} has shape {own[path].shape}, not {array.shape}"
                )
        self.write(module, spec, {**own, **given})

    def check(self, spec: dict[str, Any]) -> None:
        kind = str(spec.get("kind"))
        if kind not in self.takes:
            if refused := list(refusals(spec)):
                raise ValueError("{}: {}".format(*refused[0]).lstrip(".: "))
            raise self.has_no(f"{kind} here")
        if kind == "Bidirectional":
            self.check(spec["layer"])
            if spec["layer"].get("go_backwards"):
                raise self.has_no("Bidirectional of a layer with go_backwards")
        for key, value in spec.items():
            if key in ("kind", "name", "units", "layer") or key.endswith("_initializer"):
                continue  # initializers: of weights that are given
            if key == "trainable" and value is True:
                continue
            if value not in self.takes[kind].get(key, MEANS_NOTHING):
                raise self.has_no(f"{kind} with {key} = {value!r}")

    def arrays(self, of: Stack) -> dict[str, dict[str, Array]]:
        return {s["name"]: self.read(m, s) for s, m in zip(of.specs, of.modules)}

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
        starts: Sequence[Tensor],
        lengths: Sequence[int] | None = None,
        last: bool = False,
        later: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> Run:
        """later: the initial states of layers after the first recurrent one."""
        run = Run()
        found, value, padded, is_turned, carries = run.found, x, False, False, False
        for spec, module in zip(of.specs, of.modules):
            found["beside"] = []
            if spec["kind"] == "Dense":
                value = self.dense(module, spec, value)
            else:
                inner, first = spec.get("layer", spec), "last_state" not in found
                if is_turned and lengths is not None:
                    raise self.has_no("mask of a sequence that was read backwards")
                is_turned = bool(inner.get("go_backwards"))
                given = starts if first else (later or {}).get(spec["name"], ())
                sequence, ends = self.recur(module, spec, value, given, lengths)
                padded = lengths is not None and not inner.get("zero_output_for_mask")
                if first:
                    found["last_state"] = ends if len(ends) > 1 else ends[0]
                    if inner is spec:
                        found["states"] = sequence
                        run.unlike |= {"states"} if padded else set()
                if inner.get("return_state"):
                    found["beside"] = ends
                carries = bool(inner.get("return_sequences") and not (last and first))
                value = sequence if carries else self.last(spec, sequence, ends, lengths)
                padded, lengths = padded and carries, lengths if carries else None
            run.unlike |= {"layers"} if padded else set()
            found["layers"].append(value)
            found["masks"].append((-1 if is_turned else 1) if carries else 0)
        found["output"] = value
        run.unlike |= {"output"} if padded else set()
        return run

    def last(
        self, spec: dict[str, Any], sequence: Tensor, ends: list[Tensor], lengths: Any
    ) -> Tensor:
        """The output (B,H) of a layer that returns no sequence."""
        inner = spec.get("layer", spec)
        if lengths is not None and inner.get("zero_output_for_mask"):
            if inner is not spec:
                raise self.has_no("Bidirectional whose last output may be a zero")
            return sequence[:, -1]
        return ends[0] if inner is spec else self.joined([ends[0], ends[len(ends) // 2]])

    def inputs(
        self, x: Maybe, initial_state: Maybe, mask: Maybe
    ) -> tuple[Tensor, list[Tensor], list[int] | None]:
        """x, the initial states, and how many steps count of each sample: None if all do."""
        if x is None or x.dtype.kind != "f":
            raise Unsupported(f"{self.framework}'s layers take floating-point input")
        return self.tensor(x), self.states(initial_state), self.lengths(mask)

    def states(self, given: Maybe) -> list[Tensor]:
        """Of one array (B,H), or (S,B,H) of several."""
        if given is None:
            return []
        return [self.tensor(state) for state in (given if given.ndim == 3 else given[None])]

    def lengths(self, mask: Maybe) -> list[int] | None:
        if mask is None:
            return None
        counts = mask.astype(bool).sum(axis=1)
        if not np.array_equal(mask.astype(bool), np.arange(mask.shape[1]) < counts[:, None]):
            raise self.has_no("mask, but lengths, and this one skips a step before one that counts")
        if not counts.all():
            raise self.has_no("mask, but lengths, and of this one a sample has no step that counts")
        return None if np.all(counts == mask.shape[1]) else [int(count) for count in counts]

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
        **more: Any,
    ) -> Answer:
        self.takes_no(more)
        if through not in ("layers", "call"):
            raise self.has_no(through)
        if training or after:
            raise self.has_no("dropout and no state that is kept from run to run here")
        found = self.kept(self.ran(of, keep, *self.inputs(x, initial_state, mask)), keep)
        carried = found["masks"]
        found["masks"] = [mask[:, ::way] if way and mask is not None else None for way in carried]
        if lacks := [name for name in keep if name not in found]:
            raise self.has_no(lacks[0])
        return {name: self.told(found[name]) for name in keep}

    def ran(self, of: Stack, keep: Sequence[str], *inputs: Any) -> Run:
        """A run of which this is kept."""
        return self.called(of, *inputs)

    def kept(self, run: Run, keep: Sequence[str]) -> dict[str, Any]:
        """What a run found. Raises Unsupported for what Keras would not have there."""
        if run.unlike & set(keep):
            raise Unsupported(
                f"{self.framework} fills a sequence up with zeros where Keras repeats the output"
            )
        return run.found

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
        **more: Any,
    ) -> Answer:
        self.takes_no(more)
        later = {layer: self.states(start) for layer, start in (starts or {}).items()}
        given = Given(*self.inputs(x, initial_state, mask), last, later)
        by = self.differentiated(of, given, loss, keep)
        inputs = {"x": by.x} if "x" in wrt else {}
        inputs.update(zip(STATES, by.states) if "initial_state" in wrt else ())
        return {
            "loss": self.told(by.loss),
            "weights": {
                spec["name"]: {path: encode(array) for path, array in own.items()}
                for spec, own in zip(of.specs, by.weights)
            },
            **{name: self.told(gradient) for name, gradient in inputs.items()},
            **({"starts": {n: self.told(each) for n, each in by.starts.items()}} if later else {}),
            **{name: self.told(array) for name, array in by.kept.items()},
        }

    def differentiated(
        self, of: Stack, given: Given, loss: dict[str, Any], keep: Sequence[str]
    ) -> Derived:
        """A run, and the gradients of a loss of its output."""
        raise self.has_no("gradients")

    def fits(self, given: Array, output: Tensor) -> Array:
        """What a loss compares with the output."""
        if given.shape != tuple(output.shape):
            sizes = given.shape, tuple(output.shape)
            raise ValueError(f"the loss's array has shape {sizes[0]}, the output {sizes[1]}")
        return given

    def run_shapes(self, of: Stack, each: Sequence[dict[str, Any]]) -> Answer:
        return {"outputs": [self.run(of, **given)["output"] for given in each]}

    def layers_in(self, where: str) -> Found:
        """The recurrent layers in a file of the user's. Raises Refused."""
        raise self.has_no("files of weights here")

    def describe(self, where: str, only: str = "", x: Maybe = None) -> Answer:
        """A second bias, where Keras has one in all, is its "recurrent_bias"."""
        answer = described_in(lambda: self.layers_in(where), only)
        if x is not None and "layers" in answer:
            (spec,), weights = answer["layers"], answer["weights"]
            given = {n: {p: decode(a) for p, a in own.items()} for n, own in weights.items()}
            answer["output"] = self.run(self.make([spec], x.shape, given), x=x)["output"]
        return answer

    def told(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.told(each) for each in value]
        if value is None:
            return None
        return encode(value if isinstance(value, np.ndarray) else self.array(value))
