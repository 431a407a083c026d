"""SimpleRNN drops its activity_regularizer: no loss is added, and none is in its configuration."""

import keras
import numpy as np

for kind in (keras.layers.SimpleRNN, keras.layers.GRU):
    layer = kind(3, activity_regularizer="l2")
    layer(np.ones((2, 4, 2), "float32"))
    print(kind.__name__, layer.losses, layer.get_config()["activity_regularizer"])
print("expected of both: a loss that is not 0, and L2")
