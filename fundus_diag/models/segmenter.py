"""The segmenter: an encoder, a decoder, one logit a pixel and class."""

import inspect

import keras
import numpy as np
from keras import layers

from fundus_diag.models import transunet, unet, unetr
from fundus_diag.models.classifier import copy_encoder_weights
from fundus_diag.models.encoders import CAM_LAYERS, HEADS, feature_map
from fundus_diag.models.layers.decoding import ClassOfPixels
from fundus_diag.models.options import parsed
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.keras_settings import layout

NETWORKS = {"unet": unet.decoder, "transunet": transunet.decoder, "unetr": unetr.decoder}


@layout()
def build_segmenter(
    network, encoder, image_size, num_classes, weights=None, *, decoder_options=None, **options
):
    """Flat segmenter: encoder, decoder, one float32 logit a pixel and class.

    Classes exclude each other no more than labels do: a cup lies in its disc.

    Args:
        network: a name in `NETWORKS`.
        encoder: a name in `ENCODERS`.
        image_size: side S of the square pictures, px.
        num_classes: number of logits K.
        weights: an encoder whose weights it starts from, see `classifier.build_classifier`.
        decoder_options: of the network's decoder.
        **options: handed to the encoder.

    Returns:
        keras.Model from pictures (B, S, S, 3), RGB in [0, 255], to logits (B, S, S, K). Layers of
        the decoder are called `head_*`.

    Raises:
        UsageError: an unknown name or option, or an encoder that the decoder cannot read.
    """
    known = _defaults(network)
    for name in decoder_options or {}:
        if name not in known:
            raise UsageError(f"{name}: --network {network} has no such option")
    options = {**HEADS.get(encoder, {}).get("options", {}), **options}
    images = keras.Input((image_size, image_size, 3), name="images")
    inner = keras.Model(images, feature_map(encoder, images, image_size, options), name=encoder)
    names = CAM_LAYERS[encoder]([x.name for x in inner.layers])
    x = NETWORKS[network](images, inner, names, **decoder_options or {})
    # float32 whatever the precision policy: the loss and the thresholds live on the logits.
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="head_logits")(x)
    model = keras.Model(images, logits, name=f"{encoder}_{network}")
    if weights is not None:
        copy_encoder_weights(weights, model)
    return model


def set_shares(model, shares):
    """Makes an untrained segmenter call each class as often as it is there, by its bias.

    From one half everywhere a class of few pixels would have to be unlearned first. Source: Lin et
    al. 2017, "Focal Loss for Dense Object Detection", section 4.1,
    https://arxiv.org/abs/1708.02002.

    Args:
        model: of `build_segmenter`.
        shares: (K,) of all pixels, in (0, 1).
    """
    shares = np.asarray(shares, "float32")
    model.get_layer("head_logits").bias.assign(np.log(shares / (1 - shares)))


def of_classes(model):
    """A segmenter as a classifier of its classes, for maps of where their pixels come from.

    Args:
        model: of `build_segmenter`.

    Returns:
        keras.Model from pictures (B, S, S, 3) to logits (B, K); it shares all layers.
    """
    scores = ClassOfPixels(dtype="float32", name="class_of_pixels")(model.output)
    return keras.Model(model.input, scores, name=model.name)


def parse_decoder_options(network, words):
    """Options of a network's decoder from words NAME=VALUE; see `options.parsed`."""
    return parsed(words, _defaults(network), "--decoder-options", network)


def _defaults(network):
    """{option: default} of a network's decoder."""
    if network not in NETWORKS:
        raise UsageError(f"--network {network}: unknown; there are {', '.join(NETWORKS)}")
    parameters = inspect.signature(NETWORKS[network]).parameters.items()
    return {name: x.default for name, x in parameters if x.kind is x.KEYWORD_ONLY}
