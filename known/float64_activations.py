"""Activations of float64 numbers that are right to float32's precision only.

numpy, openvino and (tanh) jax compute in float32. tensorflow has constants of float32: 0.2 in
leaky_relu, the square root of 1/2 in gelu; so has torch, 1/6 in the derivative of hard_sigmoid. Its
softplus of z > 20 is z.
"""

import math

import keras
import numpy as np

if keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)
for name, z, truth in (
    ("tanh", 0.7, math.tanh(0.7)),
    ("leaky_relu", -1.0, -0.2),
    ("gelu", 0.7, 0.35 * (1 + math.erf(0.7 / math.sqrt(2)))),
    ("softplus", 20.5, 20.5 + math.log1p(math.exp(-20.5))),
):
    act = getattr(keras.activations, name)
    y = keras.ops.convert_to_numpy(act(keras.ops.convert_to_tensor(np.array([z]), "float64")))
    print(f"{name}({z}): got {y.item():.17g} ({y.dtype}), expected {truth:.17g}")
if keras.backend.backend() == "torch":
    import torch

    x = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    keras.activations.hard_sigmoid(x).backward()
    print(f"hard_sigmoid'(0.7): got {x.grad.item():.17g}, expected {1 / 6:.17g}")
