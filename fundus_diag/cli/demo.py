"""The whole way on drawn photographs: draw, train in two phases, score, report."""

from pathlib import Path

from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.cli.report import headline
from fundus_diag.utils.errors import DataError, UsageError

DRAWN_SIZE = 224  # px
SETTINGS = {  # of its training
    "encoder": "se_xception_small",
    "weights": "none",
    "image_size": 128,
    "batch_size": 16,
    "phase2_epochs": 13,
}


OUTLINED = {  # of the segmenter's training, on some of the same photographs
    "encoder": "efficientnet_lite0",
    "classes": ("disc", "macula", "vessels"),
    "image_size": DRAWN_SIZE,
    "patch_size": 160,
    "patches": 2,
    "phase1_epochs": 1,
    "phase2_epochs": 11,
    "phase2_rate": 2e-3,
    "ema": 0.0,
    "decoder_options": ("width=0.5",),
}
OUTLINED_ROWS = {"train": 96, "val": 16, "test": 16}


def draw_photographs(out, patients, size, seed):
    """Draws photographs with a progress bar; returns the path of their manifest."""
    from fundus_diag.data.synthetic.dataset import draw_dataset
    from fundus_diag.utils.progress import bar

    with bar() as progress:
        task = progress.add_task("drawing photographs")

        def show(done, total):
            progress.update(task, completed=done, total=total)

        return draw_dataset(out, patients=patients, size=size, seed=seed, progress=show)


def check_demo(out, photographs):
    """Refuses a folder that would be replaced, or the outlines beside it, if it holds no demo.

    Args:
        out: folder of the run.
        photographs: folder beside it, which a demo draws in and learns from.

    Raises:
        UsageError: a folder holds another run, or something else.
        DataError: it holds a run of another kind.
    """
    from fundus_diag.runs.run_files import CLASSIFIER, SEGMENTER

    _check(out, CLASSIFIER, SETTINGS, photographs)
    _check(outlines_of(out), SEGMENTER, OUTLINED, photographs)


def outlines_of(out):
    """Folder of the segmenter of a demo."""
    return out.with_name(out.name + "_outlines")


def _check(out, kind, settings, photographs):
    from fundus_diag.runs.contents import CONFIG
    from fundus_diag.runs.run_files import read_config

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / CONFIG).exists():
        left_by_a_kill = out.is_dir() and all(x.name.startswith(".") for x in out.iterdir())
        if left_by_a_kill:
            return
        raise UsageError(f"{out}: holds something else than a demo; name another --out")
    config = read_config(out, kind, finished=False)
    trained = {**config, **config["flags"]}
    as_demos_are = all(_plain(trained.get(name)) == _plain(settings[name]) for name in settings)
    if not as_demos_are or config["data"].get("image_root") != str(photographs.resolve()):
        raise UsageError(f"{out}: holds a run that is no demo; name another --out")


def _plain(value):
    return list(value) if isinstance(value, tuple) else value  # JSON knows no tuples


def demo_config(out, manifest, seed):
    """`TrainConfig` of the demo in `out`: goes on where it was interrupted, else begins anew."""
    from fundus_diag.runs.contents import CONFIG
    from fundus_diag.runs.run_files import read_config
    from fundus_diag.training.config import TrainConfig
    from fundus_diag.utils.files import sha256
    from fundus_diag.utils.version import __version__

    before = read_config(out, finished=False) if (out / CONFIG).exists() else {}
    begun = [before.get(x) for x in ("version", "seed")] + [before.get("data", {}).get("sha256")]
    resume = begun == [__version__, seed, sha256(manifest)] and not before.get("finished")
    return TrainConfig(
        manifest=manifest,
        image_root=manifest.parent,
        run_dir=out,
        seed=seed,
        resume=resume,
        overwrite=bool(before) and not resume,
        **SETTINGS,
    )


def run_demo(out, patients, seed):
    """Draws, trains and reports; returns what `report_run` does.

    The photographs lie in a folder beside the run, and are drawn again only when asked for others.
    """
    from fundus_diag.report.report import report_run
    from fundus_diag.training.train import train

    out = Path(out)
    photographs = out.with_name(out.name + "_photographs")
    check_demo(out, photographs)
    manifest = draw_photographs(photographs, patients, DRAWN_SIZE, seed)
    return report_run(train(demo_config(out, manifest, seed)), explain=True)


def outline(out, manifest, seed):
    """Trains a segmenter on some of a demo's photographs, beside its run; returns its page.

    One that is there already is used, an interrupted one gone on with.
    """
    import pandas as pd

    from fundus_diag.report.segments import segment_report
    from fundus_diag.runs.contents import CONFIG
    from fundus_diag.runs.run_files import SEGMENTER, read_config
    from fundus_diag.runs.segmenter import load_segmenter
    from fundus_diag.training.segment import train_segmenter
    from fundus_diag.training.segment_config import SegmentConfig
    from fundus_diag.utils.files import sha256, write_csv
    from fundus_diag.utils.version import __version__

    run = outlines_of(out)
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    parts = [table[table["split"] == x].head(n) for x, n in OUTLINED_ROWS.items()]
    some = manifest.with_name("outlined.csv")
    write_csv(some, pd.concat(parts))
    before = read_config(run, SEGMENTER, finished=False) if (run / CONFIG).exists() else None
    begun = before and [before.get(x) for x in ("version", "seed")] + [before["data"].get("sha256")]
    same = begun == [__version__, seed, sha256(some)]
    config = SegmentConfig(
        manifest=some,
        image_root=manifest.parent,
        run_dir=run,
        seed=seed,
        resume=same,
        overwrite=before is not None and not same,
        weights=_start(),
        **OUTLINED,
    )
    page, _ = segment_report(load_segmenter(train_segmenter(config)))
    return page


def _start():
    """What the segmenter starts from: weights that come with pip, where they were asked for."""
    from fundus_diag.models.weights.lite_packages import weights_file

    try:
        weights_file(OUTLINED["encoder"])
    except DataError:
        return "none"
    return "imagenet"


def demo(out: Path = Path("reports/demo"), patients: int = 1200, seed: int = 0):
    """Draw photographs, train a small SE-Xception on them in two phases, report, explain, outline.

    Args:
        out: Run directory; an earlier demo in it is replaced, an interrupted one gone on with.
        patients: Number of patients drawn, most with two eyes.
        seed: Of the drawing and the training.

    Example:
        fundus-diag demo --out reports/demo
    """
    check_demo(Path(out), Path(out).with_name(Path(out).name + "_photographs"))
    import_tensorflow()
    page, metrics, explanations = run_demo(out, patients, seed)
    manifest = Path(out).with_name(Path(out).name + "_photographs") / "manifest.csv"
    print(outline(Path(out), manifest, seed))
    print(explanations)
    print(headline(page, metrics))


def draw(out: Path, patients: int = 1200, size: int = 256, seed: int = 0):
    """Draw fundus photographs with lesions, their masks, and a manifest.

    Args:
        out: Folder to write to.
        patients: Number of patients.
        size: Width and height, px.
        seed: The same seed gives the same photographs.

    Example:
        fundus-diag draw --out drawn --patients 200 --size 512
    """
    print(draw_photographs(out, patients, size, seed))
