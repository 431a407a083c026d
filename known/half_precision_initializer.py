"""SimpleRNN cannot be built in half precision: its recurrent kernel's orthogonal initializer asks
for a QR decomposition in that dtype, which no framework has on a CPU (TensorFlow: float16 alone).
"""

import keras

for dtype in ("float16", "bfloat16"):
    try:
        keras.layers.SimpleRNN(3, dtype=dtype).build((2, 4, 2))
        print(dtype, "built")
    except Exception as error:
        print(dtype, type(error).__name__, str(error)[:120], "(expected: built)")
