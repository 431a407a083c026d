"""Is an honest layer of any backend ever called wrong?  Random layers of every activation.

    python -m tools.real_layers --backend jax --dtype float32 --layers 6

Real keras.layers.SimpleRNN, called eagerly; states certified, and on JAX and PyTorch in float32 the
gradients too, with the probe that reads out δ. Prints a line of JSON: how many certificates, the
largest ratio of those that hold, and the others. tools/no_false_alarm.py does the same, at length
and with all options, for TensorFlow.
"""

import argparse
import json
import os
from typing import Any

import numpy as np

from rnn_check import certify, certify_gradients
from tests.support.layers import ACTIVATIONS, Layer, random_layer

BACKENDS = ("tensorflow", "jax", "torch", "numpy", "openvino")
ELEMENTWISE = tuple(a for a in ACTIVATIONS if a not in ("softmax", "log_softmax", "sparsemax"))
STEPS = 16


def built(layer: Layer, kernel: Any, dtype: str) -> Any:
    import keras

    units, given = layer.kernel.shape[1], (kernel, layer.recurrent_kernel, layer.bias)
    options = {"activation": layer.activation, "use_bias": layer.bias is not None, "dtype": dtype}
    real = keras.layers.SimpleRNN(units, return_sequences=True, **options)
    real.build((None, None, kernel.shape[0]))
    real.set_weights([w for w in given if w is not None])
    return real


def as_numpy(tensor: Any) -> Any:
    import keras

    if keras.backend.backend() == "torch":  # whose bfloat16 NumPy does not know
        return tensor.detach().double().numpy()
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def states(layer: Layer, dtype: str) -> Any:
    import keras

    real = built(layer, layer.kernel, dtype)
    return as_numpy(real(keras.ops.convert_to_tensor(layer.x[:, :STEPS])))


def gradients(layer: Layer) -> tuple[Any, dict[str, Any]]:
    """The states, and the gradients with a probe: H more features, 0 in x, 1 in the kernel."""
    import keras

    F, H = layer.kernel.shape
    real = built(layer, np.concatenate([layer.kernel, np.eye(H, dtype=np.float32)]), "float32")
    x, c = layer.x[:, :STEPS], layer.cotangent[:, :STEPS]
    x = np.concatenate([x, np.zeros((*x.shape[:2], H), np.float32)], -1)
    if keras.backend.backend() == "jax":
        import jax

        others = [v.value for v in real.non_trainable_variables]

        def loss(weights: Any, x: Any) -> Any:
            y, _ = real.stateless_call(weights, others, x)
            return (y * c).sum(), y

        (_, y), (of_weights, of_x) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
            [v.value for v in real.trainable_variables], x
        )
    else:
        import torch

        tensor = torch.from_numpy(x).requires_grad_()
        y = real(tensor)
        wanted = [tensor, *(v.value for v in real.trainable_variables)]
        total = (y * torch.from_numpy(c)).sum()
        of_x, *of_weights = torch.autograd.grad(total, wanted, materialize_grads=True)
        y = y.detach()
    of_weights, of_x = [np.asarray(g) for g in of_weights], np.asarray(of_x)
    observed = {"delta": of_x[:, :, F:], "x": of_x[:, :, :F]}
    observed |= {"kernel": of_weights[0][:F], "recurrent_kernel": of_weights[1]}
    if layer.bias is not None:
        observed["bias"] = of_weights[2]
    return np.asarray(y), observed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=BACKENDS, required=True)
    parser.add_argument("--dtype", default="float32", help="or a policy, as mixed_float16")
    parser.add_argument("--layers", type=int, default=6, help="of each activation")
    parser.add_argument("--activation", action="append", choices=ELEMENTWISE)
    asked = parser.parse_args()
    os.environ.update(KERAS_BACKEND=asked.backend, TF_CPP_MIN_LOG_LEVEL="3")
    count, worst, alarms = 0, 0.0, []

    def add(layer: Layer, what: str, result: Any) -> None:
        nonlocal count, worst
        count += 1
        if result.ok:
            worst = max(worst, result.ratio)
        elif result.ok is False:
            alarms.append([layer.activation, what, layer.seed, layer.scale, result.reason])

    for name in asked.activation or ELEMENTWISE:
        for seed in range(7, 7 + 31 * asked.layers, 31):
            layer = random_layer(seed, activation=name, most=32)
            own = {"x": layer.x[:, :STEPS], "kernel": layer.kernel, "bias": layer.bias}
            own |= {"recurrent_kernel": layer.recurrent_kernel, "activation": name}
            compute = asked.dtype.removeprefix("mixed_")
            add(layer, "states", certify(states(layer, asked.dtype), **own, dtype=compute))
            if asked.backend in ("jax", "torch") and asked.dtype == "float32":
                y, observed = gradients(layer)
                cotangent = layer.cotangent[:, :STEPS]
                found = certify_gradients(observed, cotangent=cotangent, states=y, **own)
                for what, result in found.items():
                    add(layer, f"d{what}", result)
    print(json.dumps({"certificates": count, "worst": worst, "alarms": alarms}))


if __name__ == "__main__":
    main()
