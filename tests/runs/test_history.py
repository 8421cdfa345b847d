"""A figure that is no number is named, and costs the curves that figure alone."""

import numpy as np
import pandas as pd
import pytest

from fundus_diag.report.parts import training_curves
from fundus_diag.runs.run_files import read_history
from fundus_diag.utils.errors import DataError

GOOD = "epoch,phase,loss,val_loss,val_macro_roc_auc\n1,1,.7,.7,.5\n2,2,.6,{},.6\n3,2,.5,.5,\n"


@pytest.mark.parametrize("value", ["inf", "-inf", "broken"])
def test_a_bad_figure_is_named_and_left_out(tmp_path, capsys, value):
    path = tmp_path / "history.csv"
    path.write_text(GOOD.format(value))
    history = read_history(path)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"history.csv line 3: val_loss is '{value}', not a number: left out" in line
    np.testing.assert_array_equal(history["val_loss"], [0.7, np.nan, 0.5])
    np.testing.assert_array_equal(history["loss"], [0.7, 0.6, 0.5])
    assert len(training_curves(history, "multi_label", 2)) == 2


def test_recall_at_the_best_f1_is_not_drawn_as_if_it_were_learning():
    """It is highest while everything is called, before anything is learned."""
    history = pd.DataFrame({"epoch": [1, 2], "phase": [2, 2], "val_macro_recall": [0.9, 0.6]})
    assert training_curves(history, "multi_label", 2) == {}
    drawn = training_curves(history.assign(val_macro_average_precision=0.5), "multi_label", 2)
    assert list(drawn) == ["curve_f1"]


def test_nan_and_nothing_are_undefined_without_a_word(tmp_path, capsys):
    path = tmp_path / "history.csv"
    path.write_text(GOOD.format("nan"))
    assert np.isnan(read_history(path)["val_loss"][1])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("column", ["epoch", "phase"])
def test_an_epoch_without_its_place_is_an_error(tmp_path, column):
    path = tmp_path / "history.csv"
    path.write_text(f"{'epoch,phase,loss'.replace(column, 'x')},{column}\n1,1,.5,inf\n")
    with pytest.raises(DataError, match=rf"line 2: {column} is 'inf'"):
        read_history(path)
