"""`fundus-diag explain` and `explain-eval`: maps of a run, and how good they are."""

from pathlib import Path
from typing import Literal

from fundus_diag.cli.parsing import File
from fundus_diag.utils.errors import UsageError


def explain(
    run: File,
    /,
    images: tuple[Path, ...] = (),
    manifest: Path | None = None,
    image_root: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    methods: tuple[str, ...] = ("layer_cam",),
    labels: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    median: int = 3,
    adaptive: bool = False,
    adaptive_block: int | None = None,
    adaptive_offset: float = 0.05,
    aug_smooth: bool = False,
    eigen_smooth: bool = False,
    head_fusion: Literal["mean", "max", "min"] = "mean",
    discard_ratio: float = 0.0,
    level: float = 0.5,
    batch_size: int = 8,
    on_bad_image: Literal["fail", "skip"] = "fail",
):
    """Show where in photographs the predictions of a run come from.

    Args:
        run: Run directory.
        images: Photographs; or a table of them by --manifest and --image-root.
        manifest: Table with image, patient, eye.
        image_root: Folder that its image paths start from.
        split: Rows of this split of the manifest only.
        out: Folder to write to. Default: cams in the run.
        methods: layer_cam, grad_cam, grad_cam_pp, score_cam; of transformers also rollout (the
            same map for every label), chefer, vit_cx. The first is shown layer by layer.
        labels: Labels to explain. Default: those above their thresholds, else the likeliest.
        layers: Layers of the network. Default: the encoder's, from fine to coarse. rollout and
            chefer take none.
        median: Side of the median filter on the fused map, cells; 0: off.
        adaptive: Set to 0 what does not stand out of its surroundings.
        adaptive_block: Side of those surroundings, cells, odd. Default: a quarter of the map.
        adaptive_offset: By how much it must stand out, share of the map's maximum.
        aug_smooth: Average over mirrored, darker and brighter pictures.
        eigen_smooth: First principal component of the channels instead of their sum.
        head_fusion: How rollout joins the heads of a block.
        discard_ratio: Share of each block's attention weights, the lowest, that rollout leaves out;
            from 0 to below 1.
        level: Outline of a fused map, which lies from 0 to 1.
        batch_size: Photographs at a time.
        on_bad_image: Stop at a photograph that cannot be read, or leave it out.
    """
    from fundus_diag.explain import explain

    cases = _cases(images, manifest, image_root, split, on_bad_image)
    settings = explain.Settings(
        methods=methods,
        layers=layers or None,
        median=median,
        adaptive=adaptive,
        adaptive_block=adaptive_block,
        adaptive_offset=adaptive_offset,
        aug_smooth=aug_smooth,
        eigen_smooth=eigen_smooth,
        head_fusion=head_fusion,
        discard_ratio=discard_ratio,
        level=level,
        batch_size=batch_size,
    )
    out = out or run / "cams"
    counts = explain.explain(run, out, cases, settings, list(labels) or None)
    zero = f", {counts['zero']} of them zero: nothing spoke for the label" if counts["zero"] else ""
    print(f"{out}: {counts['cases']} explained, {counts['maps']} maps{zero}")


def explain_eval(
    run: File,
    /,
    masks: Path,
    images: tuple[Path, ...] = (),
    manifest: Path | None = None,
    image_root: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    lesions: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    median: int = 3,
    adaptive: bool = False,
    adaptive_block: int | None = None,
    adaptive_offset: float = 0.05,
    head_fusion: Literal["mean", "max", "min"] = "mean",
    discard_ratio: float = 0.0,
    level: float = 0.5,
    tolerance: float = 0.02,
    steps: int = 20,
    randomised: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    on_bad_image: Literal["fail", "skip"] = "fail",
):
    """Score the maps of a run against masks of lesions, beside maps that know nothing.

    Args:
        run: Run directory.
        masks: Folder of masks, LESION/<stem of the image>*.png.
        images: Photographs; or a table of them by --manifest and --image-root.
        manifest: Table with image, patient, eye.
        image_root: Folder that its image paths start from.
        split: Rows of this split of the manifest only.
        out: Folder to write to. Default: faithfulness in the run.
        lesions: Which folders are signs of which label: D=MA,HE,EX,SE. Default: those of the drawn
            photographs.
        methods: As of explain. Default: all that there are for the network, without vit_cx, which
            runs it hundreds of times for a map.
        layers: Layers of the network. Default: the encoder's.
        median: Side of the median filter, cells; 0: off. The filters are compared with none.
        adaptive: Set to 0 what does not stand out of its surroundings.
        adaptive_block: Side of those surroundings, cells, odd. Default: a quarter of the map.
        adaptive_offset: By how much it must stand out, share of the map's maximum.
        head_fusion: How rollout joins the heads of a block.
        discard_ratio: Share of each block's attention weights, the lowest, that rollout leaves out;
            from 0 to below 1.
        level: Of a fused map, for the IoU.
        tolerance: Distance at which a peak still hits, share of the photograph's longer side.
        steps: Of the deletion and insertion curves.
        randomised: Photographs whose maps are compared with those of a network with random
            weights; 0: none.
        resamples: Of the bootstrap over patients.
        seed: Of the bootstrap and the random weights.
        on_bad_image: Stop at a photograph that cannot be read, or leave it out.
    """
    from fundus_diag.explain.evaluate import explain_eval as evaluate
    from fundus_diag.explain.explain import Settings

    cases = _cases(images, manifest, image_root, split, on_bad_image)
    settings = Settings(
        methods=methods or None,
        layers=layers or None,
        median=median,
        adaptive=adaptive,
        adaptive_block=adaptive_block,
        adaptive_offset=adaptive_offset,
        head_fusion=head_fusion,
        discard_ratio=discard_ratio,
        level=level,
    )
    out = out or run / "faithfulness"
    table, facts = evaluate(
        run, masks, cases, out, lesions, settings, tolerance, steps, randomised, resamples, seed
    )
    for label, number in facts["without_lesion"].items():
        print(f"note: {label}: {number} of {facts['photographs']} photographs without a lesion")
    if facts["resized_masks"]:
        print(f"note: {facts['resized_masks']} masks of another size, resized by nearest neighbour")
    shown = ["pointing", "energy", "overlap", "iou", "deletion", "insertion"]
    print(table[["label", "method", "filter", "n", *shown]].round(3).to_string(index=False))
    print(out)


def _cases(images, manifest, image_root, split, on_bad_image):
    from fundus_diag.runs.cases import cases_of_files, cases_of_manifest

    if bool(images) == (manifest is not None):
        raise UsageError("--images or --manifest: one of the two")
    if images:
        return cases_of_files(images, on_bad_image)
    if image_root is None:
        raise UsageError("--manifest needs --image-root")
    return cases_of_manifest(manifest, image_root, split, on_bad_image)
