"""Where an activation overflows on its way to a number that is none too large.

hard_silu multiplies z by 6 first (torch, openvino), gelu doubles z (numpy, torch, openvino),
exponential is infinite from 88.38 on (openvino, in predict), and the derivative of sparse_plus is
NaN, as the branch not taken overflows (jax, torch). In float16 the first begins at 10,918.
"""

import keras
import numpy as np

for name, z, truth in (
    ("hard_silu", 1e38, 1e38),
    ("gelu", 2e38, 2e38),
    ("exponential", 88.5, np.exp(88.5)),
    ("sparse_plus", 2e38, 2e38),
):
    given = np.full((1, 32), z, "float32")  # enough for vector instructions, where torch overflows
    model = keras.Sequential([keras.Input((32,)), keras.layers.Activation(name)])
    called = keras.ops.convert_to_numpy(model(given))[0, 0]
    predicted = model.predict(given, verbose=0)[0, 0]
    print(f"{name}({z:g}): called {called:.7g}, predicted {predicted:.7g}, expected {truth:.7g}")

if keras.backend.backend() == "jax":
    import jax

    print("sparse_plus'(2e38):", jax.grad(keras.activations.sparse_plus)(2e38), "expected 1")
if keras.backend.backend() == "torch":
    import torch

    x = torch.tensor(2e38, requires_grad=True)
    keras.activations.sparse_plus(x).backward()
    print("sparse_plus'(2e38):", x.grad.item(), "expected 1")
