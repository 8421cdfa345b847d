"""The page of a search: which trials nothing beats, and which settings mattered."""

from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.report.compared_figures import bars_png, pareto_png
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import data_url
from fundus_diag.training.search_plan import OBJECTIVES
from fundus_diag.utils.files import make_folder, write_bytes

LEAST = 4  # finished trials from which the importance of settings is computed


def write_search(plan, study, out):
    """Writes search.html, search.csv, pareto.png and importance.png; returns the page's path.

    Args:
        plan: `search_plan.SearchPlan`.
        study: Optuna's study of it.
        out: folder.
    """
    out = Path(out)
    make_folder(out)
    finished = [x for x in study.trials if x.state.name == "COMPLETE"]
    best = {x.number for x in study.best_trials} if finished else set()
    table = _table(plan, study, best)
    pictures = {}
    if finished and len(plan.objectives) > 1:
        axes = [OBJECTIVES[x] for x in plan.objectives[:2]]
        values = np.array([x.values[:2] for x in finished])
        front = [finished[k].number for k in _unbeaten(values, axes)]  # of the two that are drawn
        pictures["pareto"] = pareto_png([x.number for x in finished], values, front, axes)
    importance = _importance(plan, study, finished)
    if importance:
        pictures["importance"] = bars_png(importance)
    page = (
        environment()
        .get_template("search.html.j2")
        .render(
            title=plan.title,
            counts=table["state"].value_counts().to_dict() if len(table) else {},
            objectives=[OBJECTIVES[x][0] for x in plan.objectives],
            names=list(plan.space),
            rows=table.to_dict("records"),
            keys=list(plan.objectives),
            flags=plan.flags,
            pictures={
                name: (data_url(png), int.from_bytes(png[16:20], "big") // 2)
                for name, png in pictures.items()
            },
        )
    )
    write_bytes(out / "search.csv", table.to_csv(index=False).encode())
    for name, png in pictures.items():
        write_bytes(out / f"{name}.png", png)
    write_bytes(out / "search.html", page.encode())
    return out / "search.html"


def _unbeaten(values, axes):
    """Places of the rows of two objectives than which no other is as good in both, and better."""
    losses = values * [-1 if more_is_better else 1 for _, more_is_better in axes]
    return [
        k
        for k, own in enumerate(losses)
        if not ((losses <= own).all(axis=1) & (losses < own).any(axis=1)).any()
    ]


def _table(plan, study, best):
    """One row a trial, the best in the first objective first."""
    rows = []
    for trial in study.trials:
        values = trial.values or [np.nan] * len(plan.objectives)
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "best": trial.number in best,
                **dict(zip(plan.objectives, values, strict=True)),
                **{name: trial.params.get(name) for name in plan.space},
                "epochs": trial.user_attrs.get("epochs"),
                "run": trial.user_attrs.get("run", ""),
                "reason": trial.user_attrs.get("reason", ""),
            }
        )
    table = pd.DataFrame(rows)
    first = plan.objectives[0]
    if len(table):
        table = table.sort_values(
            [first, "trial"], ascending=[not OBJECTIVES[first][1], True], na_position="last"
        )
    return table.astype(object).where(table.notna(), None)


def _importance(plan, study, finished):
    """[(objective, {setting: share of its variance})], of those that vary."""
    if len(finished) < LEAST or len(plan.space) < 2:
        return []
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    found = []
    for k, name in enumerate(plan.objectives):
        if len({x.values[k] for x in finished}) < 2:
            continue
        shares = get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(seed=0),
            target=lambda trial, k=k: trial.values[k],
        )
        found.append((OBJECTIVES[name][0], shares))
    return found
