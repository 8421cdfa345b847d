"""Encoders that are Keras's own networks: the same network, flat, of published weights."""

import keras
import numpy as np
import pytest
from small_encoders import WHOLE, shake

from fundus_diag.models import ENCODERS
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.encoders import PRESETS
from fundus_diag.models.inception import renamed
from fundus_diag.models.weights import keras_networks
from fundus_diag.models.weights.load import load_encoder, weight_terms
from fundus_diag.utils.errors import DataError, UsageError

pytestmark = pytest.mark.usefixtures("eager")
SIZE = 96
APPLICATIONS = {
    "resnet50": ("ResNet50", keras.applications.resnet50),
    "inception_v3": ("InceptionV3", keras.applications.inception_v3),
    "efficientnet_v2_s": ("EfficientNetV2S", keras.applications.efficientnet_v2),
}


def pictures():
    return np.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3)).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_it_computes_what_kerass_network_of_the_same_file_computes(name, tmp_path):
    network, module = APPLICATIONS[name]
    keras.utils.set_random_seed(0)
    upstream = getattr(keras.applications, network)(
        weights=None, include_top=False, input_shape=(SIZE, SIZE, 3)
    )
    shake(upstream)
    images = pictures()
    calibrate_batch_norm(upstream, [module.preprocess_input(images.copy())])
    upstream.save(tmp_path / "upstream.h5")  # the form that Keras publishes
    encoder, pretrained = load_encoder(name, SIZE, str(tmp_path / "upstream.h5"))
    assert pretrained
    # The first layer does what Keras's function does, but that ResNet's gives BGR ..
    normalize = keras.Model(encoder.input, encoder.get_layer("normalize").output)
    entering = normalize.predict(images, verbose=0)
    if name == "resnet50":
        entering = entering[..., ::-1]
    if name != "efficientnet_v2_s":  # whose function does nothing: its network has it inside
        want = module.preprocess_input(images.copy())
        np.testing.assert_allclose(entering, want, rtol=0, atol=1e-5 * np.abs(want).max())
        images = entering
    # .. and from there on all is the same: a deep network of random weights makes more of rounding.
    want = upstream.predict(images, verbose=0)
    assert want.std(axis=0).mean() > 1e-2  # else anything would pass
    got = encoder.predict(pictures(), verbose=0)
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-4 * np.abs(want).max())


def test_names_of_inception_do_not_depend_on_what_was_built_before():
    kinds = ("conv2d", "batch_normalization", "activation")
    first = [f"{kind}_{i}".removesuffix("_0") for i in range(94) for kind in kinds]
    later = [f"{kind}_{i + 100}" for i in range(94) for kind in kinds]
    names = renamed([*first, "max_pooling2d", "mixed0"])
    assert names["conv2d"] == "stem.conv2d_0"
    assert names["activation_4"] == "stem.activation_4"
    assert names["batch_normalization_5"] == "mixed0.batch_normalization_5"
    assert names["conv2d_93"] == "mixed10.conv2d_93"
    assert "mixed0" not in names
    assert [renamed(later)[x] for x in later] == [names[x] for x in first]


def test_without_a_network_imagenet_is_refused_in_a_line(monkeypatch):
    def no_network(**options):
        raise Exception("URL fetch failure on https://storage.example:\n  no route to host")

    monkeypatch.setattr(keras_networks.keras.applications, "ResNet50", no_network)
    with pytest.raises(DataError, match="^--weights imagenet: .* no route to host") as error:
        PRESETS["resnet50"].published.imagenet(None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "size", "least"), [("resnet50", 31, 32), ("inception_v3", 74, 75)]
)
def test_pictures_that_are_too_small_are_refused(name, size, least):
    with pytest.raises(UsageError, match=f"--image-size {size}: at least {least} "):
        ENCODERS[name](size)


def test_terms_are_those_that_keras_documents():
    assert "ResNet50 (MIT, by Keras's" in weight_terms("resnet50", "imagenet")
    assert "InceptionV3 (Apache-2.0, by" in weight_terms("inception_v3", "imagenet")
