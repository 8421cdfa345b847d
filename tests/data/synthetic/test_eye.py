"""One drawn eye: its disc, its lesions, and masks where the picture changed."""

import cv2
import numpy as np
import pytest

from fundus_diag.data.labels import HEALTHY, LABELS
from fundus_diag.data.synthetic import lesions
from fundus_diag.data.synthetic.dataset import COMMON
from fundus_diag.data.synthetic.eye import ANATOMY, DISEASES, NOWHERE, SIGNS, draw_eye

D_SIGNS = SIGNS["D"]


def test_diseases_are_the_labels_and_every_one_has_signs():
    assert [x for x in LABELS if x != HEALTHY] == list(DISEASES)
    assert set(COMMON) <= set(DISEASES)
    # C clouds the lens and leaves no mark on the retina.
    assert set(lesions.MARKS) == set(DISEASES) - {"C"}
    signs = [sign for label in DISEASES for sign in SIGNS[label]]
    assert len(set(signs)) == len(signs)
    assert set(NOWHERE) < set(signs)


def test_the_disc_lies_on_the_nasal_side():
    for seed in range(6):
        for eye, nasal in (("right", 1), ("left", -1)):
            picture, masks = draw_eye(seed, {"G"}, eye, quality=0)
            rows, columns = np.nonzero(masks["cup"])
            assert np.sign(columns.mean() - 128) == nasal
            # The picture says so too: the cup outshines its mirror image.
            green = picture[..., 1].astype(float)
            assert green[masks["cup"]].mean() > 1.2 * green[:, ::-1][masks["cup"]].mean()


def test_the_eyes_of_a_patient_share_the_camera_and_are_not_mirror_images():
    left, right, stranger = (
        draw_eye(seed, (), eye, 128, quality=0)[0].astype(float)
        for seed, eye in ((1, "left"), (1, "right"), (2, "right"))
    )

    def colour(picture):
        seen = picture[picture.max(axis=-1) > 30]
        return seen.mean(axis=0) / seen.mean()

    assert np.abs(colour(left) - colour(right)).max() < 0.05
    assert np.abs(colour(left) - colour(stranger)).max() > 0.05
    assert np.abs(left[:, ::-1] - right).mean() > 5


def test_a_drawing_depends_on_nothing_but_its_arguments():
    first, masks = draw_eye((3, 4), {"D", "O"}, "left", 128)
    again, same = draw_eye((3, 4), {"O", "D"}, "left", 128)
    np.testing.assert_array_equal(first, again)
    assert masks.keys() == same.keys()
    assert (draw_eye((3, 5), {"D", "O"}, "left", 128)[0] != first).any()


@pytest.mark.parametrize("size", [64, 200])
def test_a_picture_is_a_bright_field_on_black(size):
    picture, masks = draw_eye(0, {"N"}, "right", size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert masks == {}
    corner = size // 12
    assert picture[:corner, :corner].max() < 40
    middle = picture[size // 3 : -size // 3, size // 3 : -size // 3]
    assert middle.mean() > 50
    assert middle[..., 0].mean() > middle[..., 2].mean()


@pytest.mark.parametrize("label", DISEASES)
def test_each_disease_shows_only_its_own_signs(label):
    seen = set()
    for seed in range(12):
        _, masks = draw_eye(seed, {label}, "left", 128)
        assert masks, f"seed {seed} shows nothing"
        assert all(mask.dtype == bool and mask.shape == (128, 128) for mask in masks.values())
        seen |= set(masks)
    assert seen <= set(SIGNS[label])
    assert len(seen) > len(SIGNS[label]) / 2


@pytest.mark.parametrize("label", ["D", "G", "A", "H", "O"])
def test_masks_are_where_the_picture_changed(label):
    for seed in range(5):
        with_signs, masks = draw_eye(seed, {label}, "right", quality=0)
        without, _ = draw_eye(seed, (), "right", quality=0)
        change = np.abs(with_signs.astype(int) - without).max(axis=-1)
        marked = np.any(list(masks.values()), axis=0)
        near = cv2.dilate(marked.astype(np.uint8), np.ones((7, 7))) > 0
        if label != "G":  # pallor changes the whole rim of the disc, a little
            assert (change[~near] > 12).sum() <= 2
        assert change[~near].mean() < 0.1
        for sign, mask in masks.items():
            # In a cup there was a smaller cup before, under a narrow artery a wide one.
            changed = (change[mask] > 3).mean()
            assert changed > (0.5 if sign in ("cup", "artery", "av_nicking") else 0.9), sign


def test_haze_takes_contrast_and_tessellation_keeps_the_mean():
    def texture(picture, mask):
        gray = picture.astype(np.float32).mean(axis=-1)
        return (gray - cv2.GaussianBlur(gray, (0, 0), 6))[cv2.erode(mask, np.ones((25, 25))) > 0]

    for seed in range(4):
        clear, _ = draw_eye(seed, (), "left", quality=0)
        hazy, masks = draw_eye(seed, {"C"}, "left", quality=0)
        field = masks["haze"].astype(np.uint8)
        assert texture(hazy, field).std() < 0.75 * texture(clear, field).std()
        myopic, masks = draw_eye(seed, {"M"}, "left", quality=0)
        assert texture(myopic, field).std() > 1.2 * texture(clear, field).std()
        assert masks["tessellation"].sum() == field.sum()
        inside = field > 0
        assert myopic[inside].mean() == pytest.approx(clear[inside].mean(), rel=0.15)


def test_a_second_disease_leaves_the_lesions_of_the_first_where_they_are():
    for other in ("G", "C", "A", "H", "M", "O"):
        alone = draw_eye(9, {"D"}, "left")[1]
        both = draw_eye(9, {"D", other}, "left")[1]
        for sign in alone:
            np.testing.assert_array_equal(alone[sign], both[sign])


@pytest.mark.parametrize("mild", [True, False])
def test_mild_lesions_of_d_stay_below_one_percent_of_the_field(mild):
    for seed in range(25):
        picture, masks = draw_eye(seed, {"D"}, "right", mild=mild, quality=0)
        lesions = np.any([masks[sign] for sign in D_SIGNS if sign in masks], axis=0)
        # The field itself, seen from the picture: what is not black, holes filled.
        seen = (cv2.GaussianBlur(picture.max(axis=-1), (0, 0), 2) > 25).astype(np.uint8)
        outline, _ = cv2.findContours(seen, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        field = max(cv2.contourArea(one) for one in outline)
        assert (lesions.sum() / field < 0.01) == mild


def test_lesions_are_wide_enough_for_small_networks():
    """At 128 px, half the drawn size, a dark dot is still about two pixels wide."""
    _, masks = draw_eye(4, {"D"}, "left", mild=True)
    count, _, stats, _ = cv2.connectedComponentsWithStats(masks["microaneurysm"].astype(np.uint8))
    assert count > 5
    width = np.median(np.sqrt(stats[1:, cv2.CC_STAT_AREA] * 4 / np.pi)) / 2
    assert 1.5 < width < 3.5


@pytest.mark.parametrize(
    ("labels", "eye", "size", "message"),
    [
        ({"X"}, "left", 64, "unknown labels \\['X'\\]"),
        ({"N", "D"}, "left", 64, "absence of the others"),
        ((), "both", 64, "'left' or 'right'"),
        ((), "left", 8, "at least 32"),
    ],
)
def test_wrong_arguments_are_named(labels, eye, size, message):
    with pytest.raises(ValueError, match=message):
        draw_eye(0, labels, eye, size)


@pytest.mark.parametrize(("labels", "eye"), [((), "left"), ({"G"}, "right"), ({"M"}, "left")])
def test_outlines_lie_on_what_is_drawn(labels, eye):
    outlines = {}
    picture, masks = draw_eye((3, 7), labels, eye, quality=0, outlines=outlines)
    again, same = draw_eye((3, 7), labels, eye, quality=0)
    assert (picture == again).all()
    assert masks.keys() == same.keys()
    disc, cup, macula, vessels = (outlines[x] for x in ANATOMY)
    assert cup[disc].any()
    assert not cup[~disc].any()
    # The disc on the nose's side, the macula on the other, two to three disc diameters away.
    middle = [np.argwhere(x).mean(axis=0) for x in (disc, macula)]
    assert (middle[0][1] < middle[1][1]) == (eye == "left")
    across = 2 * np.sqrt(disc.sum() / np.pi)
    assert 1.7 < np.linalg.norm(middle[0] - middle[1]) / across < 4
    # Inside of the vessels it is darker than just beside them, away from the disc.
    away = ~cv2.dilate(disc.astype("uint8"), np.ones((15, 15))).astype(bool)
    beside = cv2.dilate(vessels.astype("uint8"), np.ones((7, 7))).astype(bool) & ~vessels & away
    green = picture[..., 1].astype(float)
    assert green[vessels & away].mean() < 0.9 * green[beside].mean()
