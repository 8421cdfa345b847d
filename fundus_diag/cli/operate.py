"""`fundus-diag operate` and `recalibrate`: thresholds and calibration after training."""

import math
from pathlib import Path
from typing import Literal

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.utils.errors import UsageError


def operate(
    run: File,
    /,
    criterion: str | None = None,
    label: tuple[str, ...] = (),
    prevalence: tuple[str, ...] = (),
    referable_cut: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
):
    """Choose thresholds of a run anew on its validation, or show what usual choices would reach.

    Args:
        run: Run directory.
        criterion: f1, sensitivity=S or specificity=S. Without it nothing is changed.
        label: Labels to change. Default: all; of grades the one is called referable.
        prevalence: Share of the ill where the run is to be used, for the predictive values, as
            D=.05. Default: that of the validation.
        referable_cut: Of grades, the first that is referred. Default: the run's.
        resamples: Of the bootstrap over patients, for the 95 % intervals.
        seed: Of the bootstrap.

    Example:
        fundus-diag operate reports/odir --criterion sensitivity=0.9 --label D
    """
    from fundus_diag.runs.operate import operate as choose
    from fundus_diag.runs.run_files import read_config

    shares = _shares(prevalence)
    config = read_config(run)
    made = choose(run, config, criterion, label, shares, resamples, seed, referable_cut)
    _show(made["rows"], shares)
    print("95 % intervals over patients; thresholds were chosen on these rows, which flatters them")
    for note in made["notes"]:
        print(f"note: {note}")
    if made["kept"]:
        print(f"the earlier thresholds: {made['kept']}")
        print(f"{run / 'thresholds.json'}; scores anew: fundus-diag report {run}")


def recalibrate(
    run: File,
    /,
    manifest: Path,
    image_root: Path,
    out: Path,
    criterion: str | None = None,
    on_bad_image: Literal["fail", "skip"] = "fail",
    seed: int = 0,
):
    """Fit calibration and thresholds of a run to labelled photographs of one's own clinic.

    Weights stay as they are. Labels with fewer than 30 positives or negatives keep what they had.
    Both calibrations are compared on a half of the patients that the other half's fit has not seen.

    Args:
        run: Run directory.
        manifest: Table with image, patient, eye and labels.
        image_root: Folder that its image paths start from.
        out: Folder of the new run to write.
        criterion: f1, sensitivity=S or specificity=S. Default: the run's.
        on_bad_image: Stop at a photograph that cannot be read, or leave it out.
        seed: Of the halves and the bootstrap.

    Example:
        fundus-diag recalibrate reports/odir --manifest local.csv \\
            --image-root LOCAL --out reports/here
    """
    check_file(manifest)
    check_folder(image_root)
    from fundus_diag.runs.run_files import read_config

    config = read_config(run)
    import_tensorflow()
    from fundus_diag.runs.recalibrate import recalibrate as fit
    from fundus_diag.runs.run import load_run

    opened = load_run(run, config)
    made = fit(opened, manifest, image_root, out, criterion, on_bad_image, seed)
    print(made["table"].to_string(index=False))
    for note in made["notes"]:
        print(f"note: {note}")
    print(out)


def _shares(texts):
    shares = {}
    for text in texts:
        label, _, share = text.rpartition("=")
        try:
            shares[label] = float(share)
        except ValueError:
            label = ""
        if not label:
            raise UsageError(f"--prevalence {text}: LABEL=SHARE is asked for, such as D=.05")
    return shares


def _show(rows, shares):
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    names = ["label", "chosen by", "threshold", "sensitivity", "specificity", "PPV", "NPV"]
    for name in names:
        table.add_column(name, justify="left", no_wrap=True)
    last = None
    for row in rows:
        share = shares.get(row["label"])
        about = f"{row['label']} ({row['positives']} of {row['positives'] + row['negatives']})"
        about += f" at {share:g}" if share else ""
        threshold = "none" if row["threshold"] is None else f"{row['threshold']:.3f}"
        figures = (row[x] for x in ("recall", "specificity", "precision", "npv"))
        how = f"{row['criterion']}{', now' if row['now'] else ''}"
        cells = [about if row["label"] != last else "", how, threshold, *map(_figure, figures)]
        table.add_row(*cells)
        last = row["label"]
    Console(width=None if Console().is_terminal else 140).print(table)


def _figure(found):
    value, interval = found
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" + (f" ({interval[0]:.2f}-{interval[1]:.2f})" if interval else "")
