"""How maps are made, filtered and outlined: what `explain` and `explain-eval` have in common."""

import dataclasses
from typing import Literal

from fundus_diag.utils.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Settings:
    """How maps are made, filtered and outlined."""

    methods: tuple[str, ...] = ("layer_cam",)
    """layer_cam, grad_cam, grad_cam_pp, score_cam; of transformers also rollout (the same map for
    every label), chefer, vit_cx; of runs of findings words. The first is shown layer by layer. None
    given: all that there are for the network but vit_cx, which runs it hundreds of times for a
    map."""
    layers: tuple[str, ...] = ()
    """Layers of the network. Default: the encoder's, from fine to coarse. rollout and chefer take
    none."""
    median: int = 3
    """Side of the median filter on the fused map, cells; 0: off."""
    adaptive: bool = False
    """Set to 0 what does not stand out of its surroundings."""
    adaptive_block: int | None = None
    """Side of those surroundings, cells, odd. Default: a quarter of the map."""
    adaptive_offset: float = 0.05
    """By how much it must stand out, share of the map's maximum."""
    aug_smooth: bool = False
    """Average over mirrored, darker and brighter pictures."""
    eigen_smooth: bool = False
    """First principal component of the channels instead of their sum."""
    head_fusion: Literal["mean", "max", "min"] = "mean"
    """How rollout joins the heads of a block."""
    discard_ratio: float = 0.0
    """Share of each block's attention weights, the lowest, that rollout leaves out; from 0 to below
    1."""
    engine: Literal["own", "tf_keras_vis"] = "own"
    """Who computes layer_cam, grad_cam, grad_cam_pp and score_cam: one graph for all layers and
    labels; or tf-keras-vis, one after the other, to the same maps."""
    level: float = 0.5
    """Of a fused map, which lies from 0 to 1: from here up it is outlined, and compared with
    masks."""
    batch_size: int = 8
    """Photographs at a time."""

    def check(self):
        """Refuses, with a UsageError, what is out of its range for any network and filter."""
        if not 0 < self.level <= 1:
            raise UsageError(f"--level {self.level}: must lie above 0, up to 1")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size}: at least 1")

    @property
    def options(self):
        """What `explain.maps` takes of it besides methods, layers and the batch size."""
        names = ("aug_smooth", "eigen_smooth", "head_fusion", "discard_ratio", "engine")
        return {name: getattr(self, name) for name in names}

    @property
    def filters(self):
        """Arguments of `filters.filter_maps` and `filters.clean`."""
        return {
            "median_size": self.median,
            "adaptive": self.adaptive,
            "block": self.adaptive_block,
            "offset": self.adaptive_offset,
        }

    @property
    def filter_name(self):
        """What is done to fused maps: "none", "median 3", "median 3 + adaptive"."""
        parts = [f"median {self.median}"] * bool(self.median) + ["adaptive"] * self.adaptive
        return " + ".join(parts) or "none"
