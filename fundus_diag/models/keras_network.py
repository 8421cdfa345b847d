"""Networks of `keras.applications` as encoders: the same layers on an input of ours, flat."""

import keras

from fundus_diag.utils.errors import UsageError


def rebuilt(network, images, x, renamed=None, least=32, change=None):
    """Builds a network of `keras.applications`, without top, behind tensors of ours.

    Each of its layers is made anew from its configuration: Keras's own would share the names, or
    the numbers in them, with every other network of the process.

    Args:
        network: its name in `keras.applications`.
        images: Keras tensor (B, S, S, 3) of the pictures, whose size is checked.
        x: `images` standardised, which goes into the first layer.
        renamed: function that gives {Keras's name: ours}, of the layers that get another name, for
            the list of Keras's names.
        least: smallest side of its pictures, px.
        change: `change(name, configuration)` of a layer before it is made.

    Returns:
        The feature map (B, h, w, C), a Keras tensor.

    Raises:
        UsageError: the pictures are smaller than the network takes.
    """
    if images.shape[1] < least:
        raise UsageError(f"--image-size {images.shape[1]}: at least {least} for {network} of Keras")
    options = {"include_preprocessing": False} if network.startswith("EfficientNetV2") else {}
    upstream = getattr(keras.applications, network)(
        include_top=False, weights=None, input_shape=tuple(images.shape[1:]), **options
    )
    ours = renamed([layer.name for layer in upstream.layers]) if renamed else {}
    tensors = {id(upstream.input): x}
    for layer in upstream.layers[1:]:  # in an order in which inputs come before what they go into
        configuration = layer.get_config()
        configuration["name"] = ours.get(layer.name, layer.name)
        if change:
            change(layer.name, configuration)
        inputs = [tensors[id(t)] for t in layer._inbound_nodes[0].input_tensors]
        again = type(layer).from_config(configuration)
        tensors[id(layer.output)] = again(inputs if len(inputs) > 1 else inputs[0])
    return tensors[id(upstream.output)]
