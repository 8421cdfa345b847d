"""The whole way on drawn photographs: draw, train in two phases, score, report."""

from pathlib import Path

from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.cli.report import headline

DRAWN_SIZE = 224  # px
IMAGE_SIZE = 128  # px


def draw_photographs(out, patients, size, seed):
    """Draws photographs with a progress bar; returns the path of their manifest."""
    from fundus_diag.data.synthetic.dataset import draw_dataset
    from fundus_diag.utils.progress import bar

    with bar() as progress:
        task = progress.add_task("drawing photographs")

        def show(done, total):
            progress.update(task, completed=done, total=total)

        return draw_dataset(out, patients=patients, size=size, seed=seed, progress=show)


def run_demo(out, patients, seed):
    """Draws, trains and reports; returns what `report_run` does.

    The photographs lie in a folder beside the run, and are drawn again only when asked for others.
    """
    from fundus_diag.report.report import report_run
    from fundus_diag.training.config import TrainConfig
    from fundus_diag.training.train import train

    out = Path(out)
    photographs = out.with_name(out.name + "_photographs")
    photographs.mkdir(parents=True, exist_ok=True)
    manifest = draw_photographs(photographs, patients, DRAWN_SIZE, seed)
    config = TrainConfig(
        manifest=manifest,
        image_root=photographs,
        run_dir=out,
        encoder="se_xception_small",
        weights="none",
        image_size=IMAGE_SIZE,
        seed=seed,
        overwrite=True,
        batch_size=16,
        phase2_epochs=13,
    )
    return report_run(train(config), explain=True)


def demo(out: Path = Path("reports/demo"), patients: int = 1200, seed: int = 0):
    """Draw photographs, train a small SE-Xception on them in two phases, report and explain.

    Args:
        out: Run directory; an earlier demo in it is replaced.
        patients: Number of patients drawn, most with two eyes.
        seed: Of the drawing and the training.
    """
    import_tensorflow()
    page, metrics, explanations = run_demo(out, patients, seed)
    print(explanations)
    print(headline(page, metrics))


def draw(out: Path, patients: int = 1200, size: int = 256, seed: int = 0):
    """Draw fundus photographs with lesions, their masks, and a manifest.

    Args:
        out: Folder to write to.
        patients: Number of patients.
        size: Width and height, px.
        seed: The same seed gives the same photographs.
    """
    print(draw_photographs(out, patients, size, seed))
