"""The terms of published weights, which stand in one place and are read from there."""

from pathlib import Path

from fundus_diag.models.weights.keras_xception import LICENCE
from fundus_diag.models.weights.load import WEIGHT_TERMS

README = Path(__file__).resolve().parents[3] / "README.md"


def test_weights_of_xception_are_under_the_licence_that_keras_gave_them():
    """Keras 2, docs/templates/applications.md, of Xception: "released under the MIT license"."""
    assert LICENCE == "MIT"
    assert "keras.applications.Xception (MIT, " in WEIGHT_TERMS["imagenet"]
    assert "Apache" not in WEIGHT_TERMS["imagenet"]
    text = " ".join(README.read_text().split())
    (sentence,) = [x for x in text.split(". ") if "weights of Xception" in x]
    assert f"under the {LICENCE} licence" in sentence
