"""The squeeze-and-excitation gate."""

from keras import layers


def squeeze_excite(x, ratio, *, name):
    """Scales each channel of x (B, H, W, C) by a gate in (0, 1) computed from the channel means.

    Source: Hu et al. 2018, "Squeeze-and-Excitation Networks", equations 2 to 4,
    https://arxiv.org/abs/1709.01507. `ratio` is the width of the hidden layer over C (the paper's
    1/r).
    """
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    hidden = max(1, int(channels * ratio))
    gate = layers.Dense(hidden, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Dense(channels, activation="sigmoid", name=f"{name}_expand")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])
