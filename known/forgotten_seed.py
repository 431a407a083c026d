"""SimpleRNN's configuration forgets its seed, so that a copy drops something else."""

import keras

for kind in (keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU):
    layer = kind(3, dropout=0.5, seed=7)
    print(kind.__name__, layer.seed, layer.get_config().get("seed", "no seed"))
