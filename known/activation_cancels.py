"""celu of small negative numbers is exp(z) - 1, softplus of negative ones log(1 + exp(z)): both
cancel (openvino). log_sigmoid and mish are made of softplus. Compiled, as in predict, softplus of
-86.9 is 7.6e-6, where 1.8e-38 is right.
"""

import keras
import numpy as np

for name, first in (("celu", -1e-6), ("softplus", -12), ("log_sigmoid", 12), ("mish", -12)):
    for z in (first, 7.23 * first):
        s = np.log1p(np.exp(-abs(z)))
        truth = {"celu": np.expm1(z), "softplus": s, "log_sigmoid": -s, "mish": z * np.tanh(s)}
        given = np.array([[z]], "float32")
        model = keras.Sequential([keras.Input((1,)), keras.layers.Activation(name)])
        called = keras.ops.convert_to_numpy(model(given)).item()
        predicted = model.predict(given, verbose=0).item()
        print(f"{name}({z:g}): called {called:.7g}, predicted {predicted:.7g}, ", end="")
        print(f"expected {truth[name]:.7g}")
