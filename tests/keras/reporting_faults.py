"""Which mistakes do fit, evaluate and predict make with batches?  Each as a subclass of the model.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

Array = Any


def by_batch(x: Array, size: int) -> list[slice]:
    return [slice(at, at + size) for at in range(0, len(x), size)]


class Model(keras.Model):
    """none"""

    def compile(self, *given: Any, **how: Any) -> None:
        """As eagerly.py has it."""
        super().compile(*given, **{**how, "jit_compile": False, "run_eagerly": True})


class MeanOfMeans(Model):
    """evaluate: smaller batch weighs as much"""

    def evaluate(self, x: Array, y: Array, batch_size: int, **how: Any) -> Any:
        weight = how.pop("sample_weight", None)
        each = [
            super(MeanOfMeans, self).evaluate(
                x[part], y[part], batch_size=batch_size,
                sample_weight=None if weight is None else weight[part], **how,
            )
            for part in by_batch(x, batch_size)
        ]  # fmt: skip
        return {name: np.mean([said[name] for said in each]) for name in each[0]}


class SmallerBatchDropped(Model):
    """evaluate: smaller batch dropped"""

    def evaluate(self, x: Array, y: Array, batch_size: int, **how: Any) -> Any:
        most = len(x) // batch_size * batch_size
        weight = how.pop("sample_weight", None)
        how["sample_weight"] = None if weight is None else weight[:most]
        return super().evaluate(x[:most], y[:most], batch_size=batch_size, **how)


class PenaltiesForgotten(Model):
    """penalized evaluate: penalties left out of the loss"""

    @property
    def losses(self) -> list[Any]:
        return []


class PenaltiesShared(Model):
    """penalized test_on_batch: penalties divided by the samples"""

    def test_on_batch(self, x: Array, *given: Any, **how: Any) -> Any:
        self.samples = len(next(iter(x.values())) if isinstance(x, dict) else x)
        return super().test_on_batch(x, *given, **how)

    @property
    def losses(self) -> list[Any]:
        return [each / getattr(self, "samples", 1) for each in super().losses]


class WeightsForgotten(Model):
    """evaluate: weights of samples forgotten"""

    def evaluate(self, *given: Any, **how: Any) -> Any:
        return super().evaluate(*given, **{**how, "sample_weight": None})


class LossOff(Model):
    """evaluate: loss off by 1e-4"""

    def evaluate(self, *given: Any, **how: Any) -> Any:
        said = super().evaluate(*given, **how)
        return {**said, "loss": said["loss"] * (1 + 1e-4)}


class AccuracyOfErrors(Model):
    """evaluate: accuracy of what is wrong"""

    def evaluate(self, *given: Any, **how: Any) -> Any:
        said = super().evaluate(*given, **how)
        return {**said, "accuracy": 1 - said["accuracy"]}


class RootOfSquares(Model):
    """evaluate: root of the mean square"""

    def evaluate(self, *given: Any, **how: Any) -> Any:
        said = super().evaluate(*given, **how)
        return {**said, "mse": np.sqrt(said["mse"])}


class TestGoesOn(Model):
    """test_on_batch: mean over all calls"""

    said: tuple[Any, ...] = ()

    def test_on_batch(self, *given: Any, **how: Any) -> Any:
        said = super().test_on_batch(*given, **how)
        self.said = (*self.said, said)
        return {name: np.mean([float(each[name]) for each in self.said]) for name in said}


class TestOfTheFirst(Model):
    """test_on_batch: first sample of each alone"""

    def test_on_batch(self, x: Array, y: Array, **how: Any) -> Any:
        weight = how.pop("sample_weight", None)
        weight = None if weight is None else weight[:1]
        return super().test_on_batch(x[:1], y[:1], sample_weight=weight, **how)


class PredictedBackwards(Model):
    """predict: samples of a batch in the other order"""

    def predict(self, x: Array, batch_size: int, **how: Any) -> Any:
        found = super().predict(x, batch_size=batch_size, **how)
        return np.concatenate([found[part][::-1] for part in by_batch(x, batch_size)])


class PredictedTwice(Model):
    """predict: smaller batch filled up from the one before"""

    def predict(self, x: Array, batch_size: int, **how: Any) -> Any:
        found = super().predict(x, batch_size=batch_size, **how)
        rest = len(x) % batch_size
        return np.concatenate([found[: len(x) - rest], found[:rest]])


class PredictedInHalf(Model):
    """predict: rounded to float16"""

    def predict(self, *given: Any, **how: Any) -> Any:
        return super().predict(*given, **how).astype("float16").astype("float32")


class BatchPredictedInHalf(Model):
    """predict_on_batch: rounded to float16"""

    def predict_on_batch(self, x: Array) -> Any:
        return np.asarray(super().predict_on_batch(x)).astype("float16").astype("float32")


def afresh(model: Any) -> None:
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()


class PredictedAfresh(Model):
    """stateful predict: every batch from zeros"""

    def predict(self, x: Array, batch_size: int, **how: Any) -> Any:
        each = []
        for part in by_batch(x, batch_size):
            afresh(self)
            each.append(super().predict(x[part], batch_size=batch_size, **how))
        return np.concatenate(each)


class PredictedInOtherOrder(Model):
    """stateful predict: batches in another order"""

    def predict(self, x: Array, batch_size: int, **how: Any) -> Any:
        parts = by_batch(x, batch_size)
        order = np.concatenate([np.arange(len(x))[part] for part in parts[::-1]])
        found = super().predict(x[order], batch_size=batch_size, **how)
        return found[np.argsort(order)]


class BatchPredictedAfresh(Model):
    """stateful predict_on_batch: every batch from zeros"""

    def predict_on_batch(self, x: Array) -> Any:
        afresh(self)
        return super().predict_on_batch(x)


class PredictedOnceBefore(Model):
    """stateful predict_on_batch: batch run twice"""

    def predict_on_batch(self, x: Array) -> Any:
        super().predict_on_batch(x)
        return super().predict_on_batch(x)


class EvaluatedAfresh(Model):
    """stateful evaluate: every batch from zeros"""

    def evaluate(self, x: Array, y: Array, batch_size: int, **how: Any) -> Any:
        how.pop("sample_weight")
        each = []
        for part in by_batch(x, batch_size):
            afresh(self)
            each.append(super().evaluate(x[part], y[part], batch_size=batch_size, **how))
        return {name: np.mean([said[name] for said in each]) for name in each[0]}


class StateOfAnotherSample(Model):
    """stateful test_on_batch: state of the sample beside"""

    def test_on_batch(self, *given: Any, **how: Any) -> Any:
        for layer in self.layers:
            if getattr(layer, "stateful", False):
                for state in layer.states:
                    state.assign(np.roll(np.asarray(keras.ops.convert_to_numpy(state)), 1, 0))
        return super().test_on_batch(*given, **how)


class AfterTheUpdate(Model):
    """train_on_batch: loss after the update"""

    def train_on_batch(self, x: Array, y: Array, sample_weight: Array = None, **how: Any) -> Any:
        super().train_on_batch(x, y, sample_weight=sample_weight, **how)
        return self.test_on_batch(x, y, sample_weight=sample_weight, return_dict=True)


class TrainedTwice(Model):
    """train_on_batch: two updates instead of one"""

    def train_on_batch(self, *given: Any, **how: Any) -> Any:
        said = super().train_on_batch(*given, **how)
        super().train_on_batch(*given, **how)
        return said


class ValidatedBefore(Model):
    """fit: validated before the epoch"""

    def fit(self, *given: Any, **how: Any) -> Any:
        x, y, *weight = how["validation_data"]
        before = self.evaluate(
            x, y, batch_size=how["batch_size"], sample_weight=weight[0] if weight else None,
            return_dict=True, verbose=0,
        )  # fmt: skip
        found = super().fit(*given, **how)
        for name, value in before.items():
            each = found.history[f"val_{name}"]
            found.history[f"val_{name}"] = [value, *each[:-1]]
        return found


class ValidatedWithoutWeights(Model):
    """fit: validation without weights"""

    def fit(self, *given: Any, **how: Any) -> Any:
        return super().fit(*given, **{**how, "validation_data": how["validation_data"][:2]})


class OneLoss(Model):
    """fit: loss of the last batch alone"""

    def fit(self, *given: Any, **how: Any) -> Any:
        last: list[float] = []

        class Watch(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                self.batches: list[float] = []

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                self.batches.append(float(logs["loss"]))

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                last.append(self.batches[0])

        found = super().fit(*given, **{**how, "callbacks": [Watch()]})
        found.history["loss"] = last
        return found


class EvaluatedUnweighed(Model):
    """evaluate: weighted metrics without weights"""

    def evaluate(self, *given: Any, **how: Any) -> Any:
        said = super().evaluate(*given, **how)
        return {**said, "weighted_mae": said["mae"]}


class TrainedUnweighed(Model):
    """fit: weighted metrics without weights"""

    def fit(self, *given: Any, **how: Any) -> Any:
        found = super().fit(*given, **how)
        found.history["weighted_mse"] = found.history["mse"]
        return found
