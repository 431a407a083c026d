"""Do the tables of a document fit each other?  What one table alone cannot know.

Sizes: B batch, T timesteps.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims import gates
from rnn_check.claims.arrays_given import Arrays
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.expectation import WEIGHTS
from rnn_check.claims.expectations.expectation import Reading as ReadBeside
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import (
    RNN,
    AnyLayer,
    Bidirectional,
    Carrying,
    Embedding,
    Gated,
    Layer,
    Masking,
    TimeDistributed,
)
from rnn_check.claims.layers.recurrent import Recurrent
from rnn_check.claims.schema import ClaimFile
from rnn_check.claims.tables import MOST_WEIGHTS
from rnn_check.claims.written import Given, Reader
from rnn_check.numbers import activations
from rnn_check.refusal import ClaimError

# what layers may take (docs/claims.md)
MOST_STEPS, MOST_UNROLLED = 10_000, 1_000  # timesteps
MOST_LAYERS = 64  # cells included
MOST_STATES = (
    4_000_000  # B·T·units (of each gate) of all layers, anew for each [[expect]] and claim
)
MOST_UPDATED = 5_000_000  # weights times updates
MOST_TRAINED = 50_000_000  # B·T·units times epochs


@dataclass
class Builder:
    """From the document as written to a Claim: what one table alone cannot know."""

    read: Reader
    doc: ClaimFile
    name: str
    states: list[int]  # how many numbers the layers of the file's claims put out so far
    written: dict[str, dict[str, tuple[int, ...]]] = dataclasses.field(default_factory=dict)

    def claim(self) -> Claim:
        doc = self.doc
        self._texts()
        self._training()
        layers = self._layers()
        self._trained(layers)
        self._resets(layers)
        arrays = Arrays(self.read, doc, layers, self.written)
        x, initial_state, mask, input_shape = arrays.input()
        self._held(x)
        features = input_shape[-1] if input_shape else None
        self._gates(layers)
        weights = arrays.weights(features)
        printed = arrays.printed(features)
        self._sizes(layers, x, input_shape)
        self._wrong(layers)
        runs = any(
            WEIGHTS in e.needs and not e.not_run and not e.underived(Experiment(layers=layers))
            for e in doc.expect
        )
        if weights is None and x is not None and runs:
            raise self.fail("weights", "required: the claim gives an input to run but no weights")
        of_cell = self.doc.loss is not None and self.doc.loss.of == "c"
        loss = None if of_cell else arrays.loss(x)
        run = Experiment(
            layers=layers,
            weights=weights,
            x=x,
            initial_state=initial_state,
            mask=mask,
            input_shape=input_shape,
            input_dtype=doc.input.dtype if doc.input else None,
            loss=loss,
            cell_cotangent=arrays.cell_cotangent(x) if of_cell else None,
            printed=printed,
            training=doc.training,
            sample_weight=arrays.sample_weight(x, loss),
            wrong=doc.wrong,
            gates=doc.reading,
            second_biases=arrays.second,
            written=self.written,
        )
        if not doc.expect:
            raise self.fail("expect", "the claim expects nothing; add an [[expect]] table")
        reading = ReadBeside(self.read, run, doc.reading.computed_in, "")
        told: dict[str, dict[str, Any]] = {}
        for e in doc.expect:
            if told.setdefault(e.what, e.tells()) != e.tells():
                raise self.fail("expect", f"one {e.what} a claim; [vary] makes several claims")
        return Claim(
            **{f.name: getattr(run, f.name) for f in dataclasses.fields(run)},
            name=self.name,
            file=self.read.file,
            title=doc.title,
            source=doc.source,
            expectations=tuple(
                e.read_in(dataclasses.replace(reading, key=f"expect[{i}]"))
                for i, e in enumerate(doc.expect)
            ),
            catches=tuple(doc.catches),
            notes=doc.notes,
            slow=doc.slow,
            covers=tuple(doc.covers),
        )

    def fail(self, key: str, problem: str) -> ClaimError:
        return self.read.fail(key, problem)

    def _held(self, x: Given | None) -> None:
        """Whatever x is passed as holds it: no subject is told other numbers than are judged."""
        dtype = self.doc.input.dtype if self.doc.input else None
        if dtype is None or x is None:
            return
        with np.errstate(all="ignore"):
            lost = ~np.equal(x.value.astype(dtype).astype(np.float64), x.value)
        lost &= ~np.isnan(x.value) | (np.dtype(dtype).kind != "f")
        if lost.any():
            problem = f"{dtype} does not hold {x.value[lost][0]:g}, which stands in x"
            raise self.fail("input.dtype", problem)

    def _texts(self) -> None:
        texts = [("title", self.doc.title), ("source.document", self.doc.source.document)]
        texts += [(f"expect[{i}].from", e.from_) for i, e in enumerate(self.doc.expect)]
        for key, text in texts:
            if not text.strip():
                raise self.fail(key, "must not be empty")

    def _training(self) -> None:
        for key, problem in self.doc.training.problems() if self.doc.training else ():
            raise self.fail(f"training.{key}", problem)

    def _trained(self, layers: tuple[AnyLayer, ...]) -> None:
        if self.doc.training and layers[-1].puts_out_two:
            problem = (
                f'not of {layers[-1].name}, which with merge_mode = "None" puts out two arrays'
            )
            raise self.fail("training", problem)

    def _resets(self, layers: tuple[AnyLayer, ...]) -> None:
        """What is reset at the end of an epoch has to be there."""
        training = self.doc.training
        if training is None or training.reset_states is not True:
            return
        if not any(layer.inner.option("stateful") for layer in layers):
            raise self.fail("training.reset_states", "of a stateful layer only; leave it out")

    def _layers(self) -> tuple[AnyLayer, ...]:
        doc = self.doc
        if (doc.layer is None) == (doc.layers is None):
            raise self.fail("layer", "give either one [layer] or several [[layers]]")
        layers: tuple[Any, ...] = tuple(doc.layers) if doc.layers is not None else (doc.layer,)
        key = "layers" if doc.layers is not None else "layer"
        if not any(layer.is_recurrent for layer in layers):
            raise self.fail(key, "none of the layers is recurrent")
        count = sum(len(layer.cells) if isinstance(layer, RNN) else 1 for layer in layers)
        if count > MOST_LAYERS:
            raise self.fail(key, f"{count:,} layers and cells are too many; at most {MOST_LAYERS}")
        names = [layer.name for layer in layers]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self.fail(key, f"two layers are called {twice!r}")
        for i, layer in enumerate(layers):
            at = f"layers[{i}]" if doc.layers is not None else "layer"
            self._layer(layer, at)
            if isinstance(layer, Embedding) and i:
                raise self.fail(f"{at}.kind", "an Embedding comes first: it takes indices")
            if (layer.is_recurrent or isinstance(layer, TimeDistributed)) and any(
                not before.returns_sequences for before in layers[:i]
            ):
                raise self.fail(f"{at}.kind", f"{layer.name} needs a sequence before it")
        for i, layer in enumerate(layers[:-1]):
            if layer.puts_out_two:
                problem = '"None" only of the last layer, since it puts out two arrays'
                raise self.fail(f"{key}[{i}].merge_mode", problem)
        if any(layer.returns_state for layer in layers[:-1]):
            raise self.fail(f"{key}.return_state", "only of the last layer; leave it out")
        return layers

    def _layer(self, layer: Layer, at: str) -> None:
        """The sizes and activations of a layer, or of those inside it."""
        if isinstance(layer, Masking | Embedding):
            return
        if isinstance(layer, TimeDistributed):
            return self._layer(layer.layer, f"{at}.layer")
        if isinstance(layer, RNN) and not layer.cells:
            raise self.fail(f"{at}.cell", "expected at least one cell")
        if isinstance(layer, Bidirectional):
            return self._directions(layer, at)
        for _, part, _ in layer.parts(1):
            functions = {"activation": part.function}
            if isinstance(part, Gated):
                functions["recurrent_activation"] = part.gate_function
            for key, name in functions.items():
                try:
                    activations.activation(name)
                except ValueError as error:
                    raise self.fail(f"{at}.{key}", str(error)) from None
        if isinstance(layer, Recurrent):
            for name in ("dropout", "recurrent_dropout"):
                rate = getattr(layer, name)
                if rate is not msgspec.UNSET and not 0 <= rate < 1:
                    raise self.fail(
                        f"{at}.{name}", f"expected a rate from 0 to less than 1, got {rate}"
                    )

    def _directions(self, layer: Bidirectional, at: str) -> None:
        """What each of them may be, and what both have to be alike in, as Keras wants it."""
        self._layer(layer.layer, f"{at}.layer")
        if layer.layer.option("go_backwards"):
            raise self.fail(f"{at}.layer.go_backwards", "not inside Bidirectional; leave it out")
        if not layer.has_two:
            return
        at, (_, own) = f"{at}.backward_layer", layer.directions
        self._layer(own, at)
        if not own.option("go_backwards"):
            raise self.fail(f"{at}.go_backwards", "expected true, as Keras wants it of this one")
        for name in ("return_sequences", "return_state", "stateful", "trainable"):
            wanted = layer.layer.option(name)
            if own.option(name) != wanted:
                raise self.fail(f"{at}.{name}", f"expected {str(wanted).lower()}, as of the layer")
        if own.activity_regularizer != layer.layer.activity_regularizer:
            raise self.fail(f"{at}.activity_regularizer", "expected what the layer has")
        if layer.merges and own.units != layer.layer.units:
            raise self.fail(
                f"{at}.units", f"expected {layer.layer.units}, as of the layer: what is merged by "
                f"{layer.merge_mode} has one size",
            )  # fmt: skip

    def _gates(self, layers: tuple[AnyLayer, ...]) -> None:
        """What the author says of gates is said of some that there are."""
        functions: dict[gates.Letters, set[str]] = {}
        for layer in layers:
            for _, part in layer.recurrences if isinstance(layer, Carrying) else ():
                own = functions.setdefault(part.letters, set())
                if isinstance(part, Gated):
                    own.add(part.gate_function)
        gates.check(self.doc.reading, functions, self.fail)

    def _wrong(self, layers: tuple[AnyLayer, ...]) -> None:
        wrong = self.doc.wrong
        if wrong is None:
            return
        if not any(msgspec.structs.astuple(wrong)):
            raise self.fail(
                "wrong", "says nothing; give layer, x_shape, initial_state_shape or ..."
            )
        both = [layer for layer in layers if isinstance(layer, Bidirectional)]
        if wrong.backward_layer and not any(layer.has_two for layer in both):
            raise self.fail("wrong.backward_layer", "of a Bidirectional layer that has one, only")
        if self.doc.input is None:
            raise self.fail("input", "required: what the layer is built for before it is misused")

    def _sizes(
        self, layers: tuple[AnyLayer, ...], x: Given | None, input_shape: tuple[int, ...] | None
    ) -> None:
        """Refuse what would take a subject, or the judge, gigabytes or hours."""
        batch = x.shape[0] if x is not None else 1
        steps, features = (input_shape[0], input_shape[-1]) if input_shape else (1, 1)
        weights = width = 0
        for layer in layers:
            weights += sum(math.prod(shape) for shape in layer.weight_shapes(features).values())
            width += layer.width
            features = layer.features_after(features)
        every = (part for layer in layers for _, part, _ in layer.parts(1))
        unrolled = any(part.option("unroll") for part in (*layers, *every))
        states = batch * steps * width
        self.states[0] += states * len(self.doc.expect)
        training = self.doc.training
        updates, epochs = (training.updates(batch), training.epochs) if training else (0, 0)
        key = "layer" if self.doc.layer is not None else "layers"
        for where, got, most, what in (
            ("input", steps, MOST_UNROLLED if unrolled else MOST_STEPS,
             "unrolled timesteps" if unrolled else "timesteps"),
            (key, weights, MOST_WEIGHTS, "weights in all layers together"),
            (key, self.states[0], MOST_STATES,
             "numbers that come out of the layers, for all [[expect]] and [vary] together,"),
            ("training.epochs", updates * weights, MOST_UPDATED, "weights times updates"),
            ("training.epochs", epochs * states, MOST_TRAINED, "numbers in all epochs together"),
        ):  # fmt: skip
            if got > most:
                raise self.fail(where, f"{got:,} {what} are too many; at most {most:,}")
