"""The classifier: an encoder, pooling, a head, one logit a label."""

import re

import keras
from keras import layers

from fundus_diag.models.encoders import CAM_LAYERS, HEADS, feature_map, has_option
from fundus_diag.models.layers.eyes import FoldEyes, UnfoldEyes, relate_eyes
from fundus_diag.models.layers.ordinal import OrdinalLogits
from fundus_diag.models.layers.words import WordsHead
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.keras_settings import layout


@layout()
def build_classifier(
    encoder,
    image_size,
    num_labels,
    unit="eye",
    weights=None,
    *,
    pool="mean",
    ordinal=False,
    hidden=None,
    dropout=0.5,
    phrases=None,
    **options,
):
    """Flat classifier: encoder, pooling, norm or dense, dropout, one float32 logit a label.

    Args:
        encoder: a name in `ENCODERS`.
        image_size: side of the square pictures, px.
        num_labels: number of logits L.
        unit: "eye": input pictures (B, S, S, 3). "patient": input a dict of `images`
            (B, 2, S, S, 3), left eye first, and `mask` (B, 2), 1 where the eye was photographed.
        weights: a model from `ENCODERS[encoder](image_size, **options)` whose weights the
            classifier starts from, or None.
        pool: "mean" of the feature map, or "class_token" of an encoder that has one. Then what
            leaves the last block beside that token has no gradient, and maps of it are blank; those
            of `cam_layers`, which lie before its attention, are not.
        ordinal: whether the logits are those of `OrdinalLogits`, for grades in their order.
        hidden: units of a dense layer before the logits; 0 leaves it out. None is the encoder's
            own, see `HEADS`: 512 after Xception, 0 after a transformer or EfficientNet.
        dropout: rate before the logits, in [0, 1).
        phrases: L tuples of texts: the logits are those of `words.WordsHead`, which reads the map.
            None is a logit a label of its own.
        **options: handed to the encoder.

    Returns:
        keras.Model with output (B, L), logits. Layers of the head are called `head_*`.
    """
    if unit not in ("eye", "patient"):
        raise UsageError(f"unit must be 'eye' or 'patient', not {unit!r}")
    head = HEADS.get(encoder, {"hidden": 512})
    options = {**head.get("options", {}), **options}
    if unit == "eye":
        inputs = images = keras.Input((image_size, image_size, 3), name="images")
    else:
        pair = keras.Input((2, image_size, image_size, 3), name="images")
        mask = keras.Input((2,), name="mask")
        inputs, images = {"images": pair, "mask": mask}, FoldEyes(name="fold_eyes")(pair)
    if pool == "class_token":
        if not has_option(encoder, "class_token"):
            raise UsageError(f"--pool class_token: --encoder {encoder} has none")
        features = feature_map(encoder, images, image_size, {**options, "class_token": True})
        x = layers.Identity(name="head_pool")(features)
    else:
        features = feature_map(encoder, images, image_size, options)
        x = layers.GlobalAveragePooling2D(name="head_pool")(features)
    if phrases is not None:
        if unit == "patient" or len(features.shape) != 4:
            raise UsageError("--task findings: of single eyes, and of maps, not of a class token")
        cells = layers.Dropout(dropout, name="head_dropout")(features)
        logits = WordsHead(phrases, name="head_logits")([cells, x])
        return _with_weights(keras.Model(inputs, logits, name=f"{encoder}_{unit}"), weights)
    if head.get("norm"):
        x = layers.LayerNormalization(epsilon=head["norm"], name="head_norm")(x)
    if unit == "patient":
        x = relate_eyes(UnfoldEyes(name="head_unfold")(x), mask)
    hidden = head["hidden"] if hidden is None else hidden
    if hidden:
        x = layers.Dense(hidden, activation="relu", name="head_dense")(x)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    # float32 whatever the precision policy: the loss and the thresholds live on the logits.
    last = OrdinalLogits if ordinal else layers.Dense
    logits = last(num_labels, dtype="float32", name="head_logits")(x)
    return _with_weights(keras.Model(inputs, logits, name=f"{encoder}_{unit}"), weights)


def _with_weights(model, weights):
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


# Layers before and behind the blocks, where their names do not say so.
_OUTSIDE = {
    **dict.fromkeys(("conv_stem", "bn0"), "stem"),
    **dict.fromkeys(("conv_head", "bn1"), "top"),
}


def block_of(name):
    """The block that a layer belongs to, by its name: head, block3, blocks.7, stage1.blocks.0, ..

    What comes before the first block of a transformer is its `embed`; of a stage, `stage1`; of
    EfficientNet, its `stem`, and behind the last one its `top`.
    """
    outside = _OUTSIDE.get(name.removesuffix("_act"))
    if outside:
        return outside
    known = r"(\w+\.)?blocks\.\d+|stage\d+|block\d+[a-z]?|conv\d+_block\d+|mixed\d+"
    found = re.match(known, name)
    if found:
        return found[0]
    first = re.split(r"[_.]", name)[0]
    return {"norm": "head", "patch": "embed", "cls": "embed", "pos": "embed"}.get(first, first)


def blocks_of(model):
    """The blocks of a classifier's encoder that hold weights, from the picture up."""
    blocks = dict.fromkeys(block_of(x.name) for x in encoder_layers(model))
    blocks.pop("head", None)  # a transformer's last norm
    return list(blocks)


def encoder_layers(model):
    """Layers of a classifier that hold weights and are not of the head."""
    return [x for x in model.layers if x.weights and not x.name.startswith("head_")]


def copy_encoder_weights(encoder, classifier):
    """Sets the classifier's encoder to `encoder`'s weights, layer by layer, by name, all of them.

    Only the `norm` that ends a pretrained transformer may be left over: `head_norm` stands in its
    place behind the pooling, and learns anew.

    Raises:
        ValueError: the two do not have the same layers of the same shapes.
    """
    source = {x.name: x.get_weights() for x in encoder_layers(encoder)}
    target = {x.name: x for x in encoder_layers(classifier)}
    if "norm" not in target:
        source.pop("norm", None)
    if source.keys() != target.keys():
        raise ValueError(f"layers differ: {sorted(source.keys() ^ target.keys())}")
    for name, arrays in source.items():
        target[name].set_weights(arrays)
