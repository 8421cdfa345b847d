"""Encoders by name, and the classifier on top of them.

An encoder is described by a function from pictures to a feature map, both Keras tensors:
`FEATURE_MAPS[name](images, **options)`. `ENCODERS[name](image_size, **options)` wraps it as a
`keras.Model`; `build_classifier` calls it on its own input, so that the classifier is one flat
functional model in which every layer can be reached (class activation maps cannot look into
nested models).
"""

import contextlib
import functools
import inspect
import re

import keras
from keras import layers

from fundus_diag.models import cvt, mae_vit, med_former, se_xception
from fundus_diag.models.blocks import FoldEyes, OrdinalLogits, UnfoldEyes, relate_eyes
from fundus_diag.models.transformer import LARGEST, SMALLEST
from fundus_diag.utils.errors import UsageError

# Presets of each family: a module with the feature map, its layers for class activation maps
# (`cam_layers`) and the head that it is fine-tuned with (`HEAD`).
_FAMILIES = {
    se_xception: {
        "se_xception": {},
        # For small pictures and quick runs: a quarter of the channels, two middle blocks.
        "se_xception_small": {"width": 0.25, "middle_blocks": 2},
    },
    cvt: {
        "cvt_13": {},
        "cvt_21": {"depths": (1, 4, 16)},
        "cvt_w24": {"depths": (2, 2, 20), "widths": (192, 768, 1024), "heads": (3, 12, 16)},
        # For pictures of about 28 px: the first embedding is 3 x 3 at stride 2, as the others are,
        # so the stages see 14, 7 and 4 cells a side; half of CvT-13's blocks and channels.
        "cvt_28": {
            "depths": (1, 2, 4),
            "widths": (32, 96, 192),
            "heads": (1, 3, 6),
            "patches": ((3, 2, 1),) * 3,
        },
    },
    mae_vit: {
        "mae_vit_tiny": {"width": 192, "heads": 3},
        "mae_vit_small": {"width": 384, "heads": 6},
        "mae_vit_base": {},
        "mae_vit_large": {"width": 1024, "depth": 24, "heads": 16},
        "retfound": {"width": 1024, "depth": 24, "heads": 16},
    },
    med_former: {"med_former": {}},
}
_MODULES = {name: module for module, presets in _FAMILIES.items() for name in presets}
FEATURE_MAPS = {
    name: functools.partial(module.feature_map, **_FAMILIES[module][name])
    for name, module in _MODULES.items()
}
CAM_LAYERS = {name: module.cam_layers for name, module in _MODULES.items()}
HEADS = {name: module.HEAD for name, module in _MODULES.items()}

# Parameters of feature maps that are not for `parse_options`: flags of their own, or inner matters.
_OWN = {"images", "drop_path", "activation", "final_norm", "readable", "class_token", "patches"}


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
    pool="mean",
    ordinal=False,
    hidden=None,
    dropout=0.5,
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
        pool: "mean" of the feature map, or "class_token" of an encoder that has one. With the
            class token the last block's patches have no gradient, so its maps are blank.
        ordinal: whether the logits are those of `OrdinalLogits`, for grades in their order.
        hidden: units of a dense layer before the logits; 0 leaves it out. None is the encoder's
            own: 512 after convolutions, 0 after a transformer.
        dropout: rate before the logits, in [0, 1).
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
        features = _feature_map(encoder, images, image_size, {**options, "class_token": True})
        x = layers.Identity(name="head_pool")(features)
    else:
        features = _feature_map(encoder, images, image_size, options)
        x = layers.GlobalAveragePooling2D(name="head_pool")(features)
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
    model = keras.Model(inputs, logits, name=f"{encoder}_{unit}")
    if weights is not None:
        copy_encoder_weights(weights, model)
    return model


def parse_options(encoder, words):
    """Options of an encoder from words NAME=VALUE: numbers, true, false, 1,2,10 or text.

    Raises:
        UsageError: no such option, or a word of another form.
    """
    if encoder not in FEATURE_MAPS:
        raise UsageError(f"--encoder {encoder}: unknown; there are {', '.join(FEATURE_MAPS)}")
    parameters = inspect.signature(FEATURE_MAPS[encoder]).parameters
    known = {k: x.default for k, x in parameters.items() if k not in _OWN}
    options = {}
    for word in words:
        name, equals, value = str(word).partition("=")
        if name not in known or not equals:
            raise UsageError(
                f"--encoder-options {word}: {encoder} has {', '.join(known)} (NAME=VALUE)"
            )
        values = tuple(_value(x) for x in value.split(","))
        options[name] = values if len(values) > 1 else values[0]
        if isinstance(known[name], str):  # there, "none" is a name like others
            options[name] = value
        if not _alike(options[name], known[name]):
            raise UsageError(f"--encoder-options {word}: such as {name}={_text(known[name])}")
    return options


def has_option(encoder, option):
    """Whether an encoder's feature map takes an option of this name."""
    known = FEATURE_MAPS.get(encoder)
    return known is not None and option in inspect.signature(known).parameters


def _alike(value, default):
    """Whether a value can stand for the default: so many numbers, yes or no, or a text."""
    if isinstance(default, tuple):
        fits = isinstance(value, tuple) and len(value) == len(default)
        return fits and all(_alike(v, d) for v, d in zip(value, default, strict=True))
    if isinstance(default, (bool, str)):
        return type(value) is type(default)
    if isinstance(default, int):
        return type(value) is int and 0 < value <= LARGEST
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (numeric and 0 < value <= LARGEST)


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _value(text):
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def cam_layers(model):
    """Names of the layers whose class activation maps are shown by default.

    Raises:
        UsageError: the model is none of `build_classifier`'s.
    """
    encoder = model.name.removesuffix("_eye").removesuffix("_patient")
    if encoder not in CAM_LAYERS:
        raise UsageError(f"{model.name}: no layers are known for it; name them")
    return CAM_LAYERS[encoder]([x.name for x in model.layers])


def block_of(name):
    """The block that a layer belongs to, by its name: head, block3, blocks.7, stage1.blocks.0, ..

    What comes before the first block of a transformer is its `embed`; of a stage, `stage1`.
    """
    found = re.match(r"(\w+\.)?blocks\.\d+|stage\d+|block\d+", name)
    if found:
        return found[0]
    first = re.split(r"[_.]", name)[0]
    return {"norm": "head", "patch": "embed", "cls": "embed", "pos": "embed"}.get(first, first)


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


def _feature_map(name, images, image_size, options):
    if name not in FEATURE_MAPS:
        raise UsageError(f"--encoder {name}: unknown; there are {', '.join(FEATURE_MAPS)}")
    known = inspect.signature(FEATURE_MAPS[name]).parameters
    for option in options:
        if option not in known:
            raise UsageError(f"{option}: --encoder {name} has no such option")
    if not SMALLEST <= image_size <= LARGEST:
        raise UsageError(f"--image-size {image_size}: must lie from {SMALLEST} to {LARGEST} px")
    return FEATURE_MAPS[name](images, **options)
