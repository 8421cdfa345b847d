"""The terms of published weights, which stand in one place and are read from there."""

from pathlib import Path

from fundus_diag.models.weights.keras_xception import LICENCE
from fundus_diag.models.weights.load import weight_terms

PAGE = Path(__file__).resolve().parents[3] / "docs" / "licences.md"


def test_weights_of_xception_are_under_the_licence_that_keras_gave_them():
    """Keras 2, docs/templates/applications.md, of Xception: "released under the MIT license"."""
    assert LICENCE == "MIT"
    terms = weight_terms("se_xception", "imagenet")
    assert "keras.applications.Xception (MIT, " in terms
    assert "Apache" not in terms
    text = " ".join(PAGE.read_text().split())
    (sentence,) = [x for x in text.split(". ") if "weights of Xception" in x]
    assert f"under the {LICENCE} licence" in sentence
