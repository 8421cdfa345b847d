"""Maps of all labels and layers in one graph, against tf-keras-vis called one by one.

python benchmarks/cam.py [--image-size 299] [--labels 7] [--repeats 3] [--batch-size 1]
"""

import argparse

import keras
import numpy as np
from common import in_turn, machine, ratio

from fundus_diag.explain import maps
from fundus_diag.models import build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.classifier import cam_layers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="se_xception")
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--labels", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    from tf_keras_vis.layercam import Layercam

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = rng.uniform(0, 255, shape).astype("float32")
    model = build_classifier(args.encoder, args.image_size, args.labels)
    calibrate_batch_norm(model, [images])
    layers, library, outputs = cam_layers(model), Layercam(model), {}

    def ours():
        outputs["ours"] = maps(model, images, fuse=False, batch_size=args.batch_size)

    def one_by_one():
        outputs["library"] = [
            [
                library(
                    lambda logits, label=label: logits[:, label],
                    images,
                    penultimate_layer=layer,
                    seek_penultimate_conv_layer=False,
                    expand_cam=False,
                    normalize_cam=False,
                )
                for layer in layers
            ]
            for label in range(args.labels)
        ]

    times = in_turn({"ours": ours, "library": one_by_one}, args.repeats, warmups=1)
    print(
        f"{args.encoder}, {args.image_size} px, batch {args.batch_size}, {args.labels} labels x "
        f"{len(layers)} layers, {machine()}"
    )
    for name, seconds in times.items():
        print(f"{name:8} {np.median(seconds):8.2f} s for all maps")
    print(f"tf-keras-vis one by one / ours: {ratio(times['library'], times['ours'])}")
    finest = np.asarray(outputs["library"][0][0])  # the first layer has the finest grid
    apart = np.abs(outputs["ours"][:, 0, 0] - finest).max() / finest.max()
    print(f"largest difference, over the map's maximum: {apart:.1e}")


if __name__ == "__main__":
    main()
