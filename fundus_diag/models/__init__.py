"""Encoders by name, and the classifier on top of them.

An encoder is described by a function from pictures to a feature map, both Keras tensors:
`FEATURE_MAPS[name](images, **options)`. `ENCODERS[name](image_size, **options)` wraps it as a
`keras.Model`; `build_classifier` calls it on its own input, so that the classifier is one flat
functional model in which every layer can be reached (class activation maps cannot look into
nested models).
"""

import functools

import keras
from keras import layers

from fundus_diag.errors import UsageError
from fundus_diag.models import se_xception as xception
from fundus_diag.models.blocks import FoldEyes, UnfoldEyes, relate_eyes
from fundus_diag.models.se_xception import se_xception

FEATURE_MAPS = {
    "se_xception": se_xception,
    # For small pictures and quick runs: a quarter of the channels, two middle blocks.
    "se_xception_small": functools.partial(se_xception, width=0.25, middle_blocks=2),
}

# Layers whose class activation maps are shown, from the names of the classifier's layers.
CAM_LAYERS = {
    "se_xception": xception.cam_layers,
    "se_xception_small": xception.cam_layers,
}

SIZES = (32, 2048)  # px; below, the feature map of the encoders vanishes


def build_encoder(name, image_size, **options):
    """Model from pictures (B, image_size, image_size, 3), RGB in [0, 255], to (B, h, w, C).

    Raises:
        UsageError: unknown name, or a size that the encoder cannot take.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    return keras.Model(images, _feature_map(name, images, image_size, options), name=name)


ENCODERS = {name: functools.partial(build_encoder, name) for name in FEATURE_MAPS}


def build_classifier(
    encoder,
    image_size,
    num_labels,
    unit="eye",
    weights=None,
    *,
    hidden=512,
    dropout=0.5,
    **options,
):
    """Flat classifier: encoder, global average pooling, dense, dropout, one float32 logit a label.

    Args:
        encoder: a name in `ENCODERS`.
        image_size: side of the square pictures, px.
        num_labels: number of logits L.
        unit: "eye": input pictures (B, S, S, 3). "patient": input a dict of `images`
            (B, 2, S, S, 3), left eye first, and `mask` (B, 2), 1 where the eye was photographed.
        weights: a model from `ENCODERS[encoder](image_size, **options)` whose weights the
            classifier starts from, or None.
        hidden: units of the dense layer.
        dropout: rate before the logits, in [0, 1).
        **options: handed to the encoder.

    Returns:
        keras.Model with output (B, L), logits. Layers of the head are called `head_*`.
    """
    if unit == "eye":
        inputs = keras.Input((image_size, image_size, 3), name="images")
        features = _feature_map(encoder, inputs, image_size, options)
        x = layers.GlobalAveragePooling2D(name="head_pool")(features)
    elif unit == "patient":
        pair = keras.Input((2, image_size, image_size, 3), name="images")
        mask = keras.Input((2,), name="mask")
        inputs = {"images": pair, "mask": mask}
        features = _feature_map(encoder, FoldEyes(name="fold_eyes")(pair), image_size, options)
        x = layers.GlobalAveragePooling2D(name="head_pool")(features)
        x = relate_eyes(UnfoldEyes(name="head_unfold")(x), mask)
    else:
        raise UsageError(f"unit must be 'eye' or 'patient', not {unit!r}")
    x = layers.Dense(hidden, activation="relu", name="head_dense")(x)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    # float32 whatever the precision policy: the loss and the thresholds live on the logits.
    logits = layers.Dense(num_labels, dtype="float32", name="head_logits")(x)
    model = keras.Model(inputs, logits, name=f"{encoder}_{unit}")
    if weights is not None:
        copy_encoder_weights(weights, model)
    return model


def cam_layers(model):
    """Names of the layers whose class activation maps are shown by default.

    Raises:
        UsageError: the model is none of `build_classifier`'s.
    """
    encoder = model.name.removesuffix("_eye").removesuffix("_patient")
    if encoder not in CAM_LAYERS:
        raise UsageError(f"{model.name}: no layers are known for it; name them")
    return CAM_LAYERS[encoder]([x.name for x in model.layers])


def encoder_layers(model):
    """Layers of a classifier that hold weights and are not of the head."""
    return [x for x in model.layers if x.weights and not x.name.startswith("head_")]


def copy_encoder_weights(encoder, classifier):
    """Sets the classifier's encoder to `encoder`'s weights, layer by layer, by name, all of them.

    Raises:
        ValueError: the two do not have the same layers of the same shapes.
    """
    source = {x.name: x.get_weights() for x in encoder_layers(encoder)}
    target = {x.name: x for x in encoder_layers(classifier)}
    if source.keys() != target.keys():
        raise ValueError(f"layers differ: {sorted(source.keys() ^ target.keys())}")
    for name, arrays in source.items():
        target[name].set_weights(arrays)


def _feature_map(name, images, image_size, options):
    if name not in FEATURE_MAPS:
        raise UsageError(f"--encoder {name}: unknown; there are {', '.join(FEATURE_MAPS)}")
    if not SIZES[0] <= image_size <= SIZES[1]:
        raise UsageError(f"--image-size {image_size}: must lie from {SIZES[0]} to {SIZES[1]} px")
    return FEATURE_MAPS[name](images, **options)
