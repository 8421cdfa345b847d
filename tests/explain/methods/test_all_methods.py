"""All methods through one door: the explainer, and the sanity check of maps."""

import numpy as np
import pytest
from attentive import FAMILIES, LABELS, NEW, SIZE, as_pairs, classifier, pictures
from small_encoders import NARROW

from fundus_diag import explain
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.methods.registry import method_name, possible
from fundus_diag.explain.metrics import randomization
from fundus_diag.explain.settings import Settings
from fundus_diag.models import build_classifier
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.mixed_precision import precision

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def images():
    return pictures()


@pytest.mark.parametrize(
    "name", [FAMILIES[0], *(pytest.param(x, marks=pytest.mark.slow) for x in FAMILIES[1:])]
)
def test_networks_in_half_precision_have_maps_too(name, images):
    want = {x: explain.maps(classifier(name), images, x, [0]) for x in ("rollout", "chefer")}
    with precision("float16"):
        half = build_classifier(name, SIZE, LABELS, **NARROW[name])
    half.set_weights(classifier(name).get_weights())
    for method, maps in want.items():
        got = explain.maps(half, images, method, [0])
        assert np.corrcoef(got.ravel(), maps.ravel())[0, 1] > 0.9, method


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param("mae_vit_tiny", "rollout", marks=pytest.mark.traced),
        ("cvt_13", "chefer"),
        pytest.param("mae_vit_tiny", "vit_cx", marks=pytest.mark.traced),
    ],
)
def test_maps_are_the_same_at_any_batch_size_and_of_chosen_labels(name, method, images):
    model = classifier(name)
    whole = explain.maps(model, images, method, batch_size=4)
    assert whole.shape == (4, LABELS, 4, 4)
    assert 0 <= whole.min()
    assert whole.max() == pytest.approx(1)
    np.testing.assert_allclose(explain.maps(model, images, method, batch_size=3), whole, atol=1e-3)
    chosen = np.array([[0, 2], [1, 0], [2, 2], [1, 1]])
    got = explain.maps(model, images, method, chosen)
    for row, labels in enumerate(chosen):
        np.testing.assert_allclose(got[row], whole[row, labels], atol=1e-3)


@pytest.mark.parametrize(("name", "method"), [("mae_vit_tiny", "rollout"), ("cvt_13", "chefer")])
def test_each_eye_of_a_pair_has_a_map_of_its_own(name, method, images):
    model, pairs = classifier(name, "patient"), as_pairs(images)
    got = explain.maps(model, pairs["images"], method, mask=pairs["mask"], fuse=False)
    assert got.shape == (2, 2, LABELS, 1, 4, 4)
    assert np.isfinite(got).all()
    assert not got[1, 1].any()  # the eye that is not there
    assert got[0, 0].any()
    assert got[0, 1].any()
    assert got[1, 0].any()
    other = pairs["images"].copy()
    other[:, 1] = other[:, 1, ::-1]
    moved = explain.maps(model, other, method, mask=pairs["mask"], fuse=False)
    change = np.abs(moved - got)[0].reshape(2, -1).mean(axis=1) / got[0].reshape(2, -1).mean(axis=1)
    assert change[1] > change[0]
    if method == "rollout":  # attention knows nothing of the other eye
        np.testing.assert_allclose(moved[:, 0], got[:, 0], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.traced
@pytest.mark.parametrize("method", NEW)
def test_smoothing_is_the_mean_over_mirrored_and_scaled_pictures(method, images):
    model, images = classifier("mae_vit_tiny"), images[:2]
    got = explain.maps(model, images, method, fuse=False, aug_smooth=True)
    want = 0
    for factor in (0.9, 1.0, 1.1):
        for mirrored in (False, True):
            x = np.clip(images * factor, 0, 255)
            one = explain.maps(model, x[:, :, ::-1] if mirrored else x, method, fuse=False)
            want = want + (one[..., ::-1] if mirrored else one) / 6
    np.testing.assert_allclose(got, want, atol=1e-4 * want.max())


def test_a_fine_grid_is_not_taken_for_a_shallow_layer(images):
    model = build_classifier("mae_vit_tiny", SIZE, 2, patch=8, **NARROW["mae_vit_tiny"])
    raw = explain.maps(model, images, "rollout", fuse=False)[:, :, 0]
    assert raw.shape[-1] == 8
    peak = raw.max(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(explain.maps(model, images, "rollout"), raw / peak, rtol=1e-5)


def test_what_has_no_meaning_is_refused_by_name(images):
    model = classifier("mae_vit_tiny")
    with pytest.raises(UsageError, match=r"--discard-ratio 1.0: must lie from 0 to below 1"):
        explain.maps(model, images, "rollout", discard_ratio=1.0)
    with pytest.raises(UsageError, match="--head-fusion sum: there are mean, max, min"):
        explain.maps(model, images, "rollout", head_fusion="sum")
    with pytest.raises(UsageError, match="chefer takes none, it goes through all blocks"):
        explain.maps(model, images, "chefer", layers=["blocks.0.norm1"])
    with pytest.raises(UsageError, match="vit_cx takes one layer, not 2"):
        explain.maps(model, images, "vit_cx", layers=["blocks.0.norm1", "blocks.1.norm1"])
    for method in NEW:
        with pytest.raises(UsageError, match="--eigen-smooth: only for layer_cam, grad_cam"):
            explain.maps(model, images, method, eigen_smooth=True)
    for method in ("grad_cam_pp", "score_cam"):  # the library takes tokens for a picture
        with pytest.raises(UsageError, match=f"{method}: blocks.1.norm1 has tokens, not a map"):
            explain.maps(model, images, method, layers=["blocks.1.norm1"])
    plain = build_classifier("se_xception", SIZE, 2, **NARROW["se_xception"])
    for method in NEW:
        with pytest.raises(UsageError, match=f"{method}: .* possible: layer_cam, .*, score_cam$"):
            explain.maps(plain, images, method)


def test_the_methods_possible_have_maps(images):
    model = classifier("mae_vit_tiny", pool="class_token")
    assert possible(model) == ("layer_cam", "grad_cam", *NEW)  # no map is pooled
    for method in possible(model):
        assert explain.maps(model, images[:2], method, [0, 1]).max() > 0, method
    assert layers_of(classifier("cvt_13", "patient"), Settings(methods=())) == {
        "layer_cam": ("stage0.map", "stage1.map", "stage2.patch_embed.proj"),
        "grad_cam": ("stage2.map",),
        "grad_cam_pp": ("stage2.map",),
        "rollout": (),
        "chefer": (),
    }
    for text in ("Attention-Rollout", "ViT-CX", "vitcx", "Chefer"):
        assert method_name(text) in NEW


@pytest.mark.slow
@pytest.mark.traced
def test_the_sanity_check_goes_from_the_head_down_block_by_block(images):
    model = build_classifier("cvt_13", SIZE, LABELS, **NARROW["cvt_13"])
    model.set_weights(classifier("cvt_13").get_weights())
    before = [w.copy() for w in model.get_weights()]
    draws = {
        x: lambda x=x: explain.maps(model, images, x, [0])[:, 0] for x in ("rollout", "chefer")
    }
    stages = dict(randomization.cascade(model, images, draws))
    assert list(stages) == [
        "head", "stage2.blocks.1", "stage2.blocks.0", "stage2", "stage1.blocks.0", "stage1",
        "stage0.blocks.0", "stage0",
    ]  # fmt: skip
    np.testing.assert_allclose(stages["head"]["rollout"], 1)  # the head attends to nothing
    assert stages["head"]["chefer"].mean() < 0.95
    assert stages["stage2.blocks.1"]["rollout"].mean() < 0.99  # the twin has the new weights
    assert stages["stage0"]["rollout"].mean() < 0.8
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    names = dict(randomization._blocks(classifier("mae_vit_tiny")))
    assert list(names) == ["head", "blocks.2", "blocks.1", "blocks.0", "embed"]
    assert len(names["blocks.0"]) == 8
