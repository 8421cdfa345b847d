"""Maps of all labels, and of LayerCAM's layers, in one graph, against tf-keras-vis one by one.

python benchmarks/cam.py [--image-size 299] [--labels 7] [--repeats 3] [--batch-size 1]
    [--methods layer_cam grad_cam grad_cam_pp score_cam]
"""

import argparse
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import keras
import numpy as np
from common import in_turn, machine, ratio

from fundus_diag.explain import maps
from fundus_diag.explain.methods.registry import layer_names
from fundus_diag.models import build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm

METHODS = ("layer_cam", "grad_cam", "grad_cam_pp", "score_cam")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="se_xception")
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--labels", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = rng.uniform(0, 255, shape).astype("float32")
    model = build_classifier(args.encoder, args.image_size, args.labels)
    calibrate_batch_norm(model, [images])
    print(
        f"{args.encoder}, {args.image_size} px, batch {args.batch_size}, {args.labels} labels, "
        f"{machine()}"
    )
    for method in args.methods:
        found = {}

        def draw(engine, method=method, found=found):
            options = {"fuse": False, "batch_size": args.batch_size, "engine": engine}
            found[engine] = maps(model, images, method, **options)

        engines = {name: (lambda name=name: draw(name)) for name in ("own", "tf_keras_vis")}
        times = in_turn(engines, args.repeats, warmups=1)
        one, other = found["own"], found["tf_keras_vis"]
        apart = np.abs(one - other).max(axis=(1, 3, 4)) / other.max(axis=(1, 3, 4))  # each layer's
        print(f"{method}, {len(layer_names(model, method))} layers")
        for name, seconds in times.items():
            print(f"  {name:12} {np.median(seconds):8.2f} s for all maps")
        print(f"  tf-keras-vis / own: {ratio(times['tf_keras_vis'], times['own'])}")
        print(f"  largest difference, over a layer's maximum: {apart.max():.1e}")


if __name__ == "__main__":
    main()
