"""A session of somebody else's: a script for Python 3.9 with NumPy, which has two verbs.

`python numpy_session.py ASKED ...`: ASKED is the folder rnn_check/subjects/asked, all of whose
modules are imported, so that they are known to be importable there.
"""

import importlib
import importlib.util
import os
import platform
import sys

import numpy as np


def package(folder):
    spec = importlib.util.spec_from_file_location("asked", os.path.join(folder, "__main__.py"))
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    return main.package()


def main():
    folder = sys.argv[1]
    inside = package(folder)
    modules = {
        name[:-3]: importlib.import_module(f"{inside}.{name[:-3]}")
        for name in sorted(os.listdir(folder))
        if name.endswith(".py") and not name.startswith("__")
    }
    session, wire = modules["session"], modules["wire"]

    class Layer(session.Made):
        def __init__(self, weights):
            self.weights = weights

    class InNumPy(session.Session):
        framework = "numpy alone"

        def identity(self):
            return {
                **{"framework": "numpy", "backend": "numpy", "backend_version": np.__version__},
                **{"python": platform.python_version(), "numpy": np.__version__},
                **{"device": "CPU", "dtype": "float32"},
            }

        def make(self, layers, input_shape, weights):
            (layer,) = layers
            return Layer({k: v.astype("f4") for k, v in weights[layer["name"]].items()})

        def run(self, of, x, keep=("output",)):
            w, states = of.weights, []
            h = np.zeros((len(x), w["recurrent_kernel"].shape[0]), "f4")
            for x_t in np.moveaxis(x.astype("f4"), 1, 0):
                h = np.maximum(x_t @ w["kernel"] + w["bias"] + h @ w["recurrent_kernel"], 0)
                states.append(h)
            return {name: wire.encode(np.stack(states, axis=1)) for name in keep}

    asked = InNumPy()
    wire.end_with_the_host()
    wire.serve(asked.identity, lambda line: session.reply_to(asked, line))


if __name__ == "__main__":
    main()
