"""Maps of a classifier's logits, by every method; class activation maps of many layers at once.

Sources:
    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2, https://arxiv.org/abs/1610.02391
    Jiang et al. 2021, "LayerCAM", equations 4 to 7, https://doi.org/10.1109/TIP.2021.3089943

All layers go through one compiled graph: one forward pass, one backward pass a label
(`methods.gradients`); tf-keras-vis makes the same maps one after the other (`methods.keras_vis`).
The methods of transformers alone are in `attention` and `vit_cx`.
"""

import functools

import numpy as np
import tensorflow as tf

from fundus_diag.explain.filters import filter_maps
from fundus_diag.explain.fusion import finest, fused, stacked
from fundus_diag.explain.laying import on_grid
from fundus_diag.explain.methods.attention import check_options
from fundus_diag.explain.methods.registry import METHODS, layer_names, method_name, possible
from fundus_diag.explain.settings import Settings
from fundus_diag.explain.smoothing import VARIANTS, undo, vary
from fundus_diag.utils.errors import UsageError


def maps(
    model,
    images,
    method="layer_cam",
    labels=None,
    layers=None,
    *,
    mask=None,
    inside=None,
    fuse=True,
    aug_smooth=Settings.aug_smooth,
    eigen_smooth=Settings.eigen_smooth,
    head_fusion=Settings.head_fusion,
    discard_ratio=Settings.discard_ratio,
    engine=Settings.engine,
    batch_size=Settings.batch_size,
):
    """Maps of where logits come from.

    Args:
        model: flat classifier of `build_classifier`.
        images: pictures (B, S, S, 3) float32, RGB in [0, 255]; (B, 2, S, S, 3) for a classifier
            over two eyes.
        method: one of `explain.METHODS`. `grad_cam_pp`, `score_cam` and `vit_cx` take one layer,
            `score_cam` no pairs. `rollout`, `chefer` and `vit_cx` are for transformers; `rollout`
            makes the same map for every label.
        labels: numbers of the logits, the same for all pictures (L,) or each picture's own (B, L).
            None is all.
        layers: names of layers whose output is a map. None: those of the encoder for `layer_cam`
            (`layers.scales`), the last block's tokens for `vit_cx`, the one that the head
            pools for the others. `rollout` and `chefer` go through all blocks and take none.
        mask: (B, 2), 1 where the eye was photographed; None is all. The maps of a missing eye
            are zero.
        inside: (B, S, S) bool, (B, 2, S, S) of pairs: where pictures show the field of view, in
            which fused maps have their maximum; None is everywhere. Single layers know no field.
        fuse: one map from all layers: each is divided by its maximum in this picture, shallow ones
            go through tanh(2 x), all are brought to the finest grid, and the largest value counts.
            It lies in [0, 1] and says nothing between pictures. False: every layer by itself, not
            normalised, on the finest of their grids. Methods of transformers have one map, which is
            only divided.
        aug_smooth: mean over mirrored pictures and 0.9, 1 and 1.1 times their brightness.
        eigen_smooth: the first principal component of the weighted activations instead of their
            sum over channels.
        head_fusion, discard_ratio: of `attention.rollout`.
        engine: "own", or "tf_keras_vis": the same maps by that library, one after the other.
        batch_size: pictures (or pairs) at a time.

    Returns:
        float32, not below 0: (B, L, h, w), with `fuse=False` (B, L, layers, h, w). Pairs have an
        axis of eyes, left first, after B: (B, 2, L, ..). Where the cells stand in the picture is
        `grid_of`; they do not divide it evenly.

    Raises:
        UsageError: no such method, layer or label, or a combination that has no meaning.
    """
    images = np.asarray(images, np.float32)
    chosen = _chosen(labels, len(images), model.output.shape[-1])
    names = layer_names(model, method, layers)
    settings = Settings(
        aug_smooth=aug_smooth,
        eigen_smooth=eigen_smooth,
        head_fusion=head_fusion,
        discard_ratio=discard_ratio,
        engine=engine,
    )
    explain = explainer(model, method, names, settings)
    found = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        inputs = model_inputs(model, images[part], None if mask is None else mask[part])
        within = None if inside is None else inside[part]
        both = explain(inputs, tf.constant(chosen[part]), within)
        found.append(np.asarray(both[0 if fuse else 1]))
    return np.concatenate(found)


def model_inputs(model, images, mask=None):
    """Pictures (B, S, S, 3), or (B, 2, S, S, 3) with a mask (B, 2), as the model takes them."""
    inputs = tf.constant(images, tf.float32)
    if not isinstance(model.input, dict):
        return inputs
    mask = np.ones((len(images), 2)) if mask is None else mask
    return {"images": inputs, "mask": tf.constant(mask, tf.float32)}


def grid_of(model, method, layers):
    """`geometry.Grid` of the maps of a method at layers of `layer_names`, fused or not.

    Raises:
        UsageError: see `geometry.grids`.
    """
    return finest(METHODS[method].grids(model, layers))


def layers_of(model, settings):
    """{method: its layers} of a model, as settings ask for them.

    Raises:
        UsageError: a method or layer is unknown, or a value out of its range.
    """
    settings.check()
    filter_maps(np.zeros((1, 1)), **settings.filters)  # refuses wrong sizes
    names = [method_name(x) for x in settings.methods]
    names = names or [x for x in possible(model) if not METHODS[x].slow]
    layers = {name: layer_names(model, name, settings.layers or None) for name in names}
    for name in names:  # refuses what has no meaning before anything is written
        explainer(model, name, layers[name], settings)
    return layers


def explainer(model, method, layers, settings):
    """A function (inputs, chosen (B, K) int32, inside=None) to maps: (fused, layer by layer).

    They are described in `maps`.

    Args:
        model: flat classifier.
        method: one of `METHODS`.
        layers: of `layer_names`.
        settings: `Settings`, of which the `options` count.
    """
    check_options(settings.head_fusion, settings.discard_ratio)
    if settings.eigen_smooth and not METHODS[method].eigen:
        able = [name for name, x in METHODS.items() if x.eigen]
        raise UsageError(f"--eigen-smooth: only for {', '.join(able)}")
    pairs = isinstance(model.input, dict)
    raw = METHODS[method].make(method, model, layers, settings)
    grids = METHODS[method].grids(model, layers)
    finish = functools.partial(_finish, grids, METHODS[method].shallow, pairs)
    if not settings.aug_smooth:
        return lambda inputs, chosen, inside=None: finish(raw(inputs, chosen), inside)

    def averaged(inputs, chosen, inside=None):
        sums = None
        for variant in VARIANTS:
            found = [undo(m, variant, pairs) for m in raw(vary(inputs, variant), chosen)]
            if variant[0]:  # the last column of the mirrored picture is not where the first one is
                both = zip(found, grids, strict=True)
                found = [on_grid(m, grid.mirrored(), grid) for m, grid in both]
            sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
        return finish([total / len(VARIANTS) for total in sums], inside)

    return averaged


def _chosen(labels, rows, count):
    """(B, K) int32 numbers of logits."""
    chosen = np.arange(count) if labels is None else np.asarray(labels)
    if chosen.size == 0 or chosen.dtype.kind not in "iu":
        raise UsageError(f"labels: {labels!r}: numbers of logits are asked for")
    if chosen.min() < 0 or chosen.max() >= count:
        raise UsageError(f"labels: {labels!r}: must lie from 0 to {count - 1}")
    if chosen.ndim == 1:
        chosen = np.tile(chosen, (rows, 1))
    if chosen.shape[0] != rows:
        raise UsageError(f"labels: {chosen.shape[0]} rows for {rows} pictures")
    return chosen.astype(np.int32)


def _finish(grids, shallow, pairs, layers, inside):
    """Raw maps of the layers, (N, h, w, K) each, to (B, K, h, w) and (B, K, layers, h, w)."""
    if inside is not None:
        inside = tf.reshape(tf.convert_to_tensor(inside), (-1, *np.shape(inside)[-2:]))
    found = (
        tf.transpose(fused(layers, grids, inside, shallow), (0, 3, 1, 2)),
        tf.transpose(stacked(layers, grids), (0, 4, 1, 2, 3)),
    )
    if not pairs:
        return found
    return tuple(tf.reshape(x, (-1, 2, *x.shape[1:])) for x in found)
