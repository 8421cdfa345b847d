"""Time of a pretraining step with three quarters of the patches hidden, against none hidden.

    python benchmarks/pretrain_step.py [--encoder mae_vit_base] [--image-size 224] [--batch-size 16]

The whole step with its decoder (by default the published one, 8 blocks of 512 channels), gradients
and AdamW, in float32; random pictures. Hidden patches cost the encoder nothing, the decoder as much
as any.
"""

import argparse
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import keras
import numpy as np
import tensorflow as tf
from common import in_turn, machine, ratio

from fundus_diag.models.masked_autoencoder import masked_autoencoder, vit_settings
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.pretraining.loop import compile_model
from fundus_diag.utils.mixed_precision import precision


def step(config, images, mask_ratio, name):
    """A function that runs one training step."""
    with precision(name):
        model = masked_autoencoder(
            config.image_size,
            **vit_settings(config.encoder),
            mask_ratio=mask_ratio,
            decoder_depth=config.decoder_depth,
            decoder_width=config.decoder_width,
        )
        compile_model(model, config, steps=1000)

    def run():
        with precision(name):
            model.train_on_batch(images)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="mae_vit_base")
    parser.add_argument("--image-size", type=int, default=224, help="px")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--decoder-depth", type=int, default=None, help="default: the encoder's")
    parser.add_argument("--decoder-width", type=int, default=None, help="default: the encoder's")
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    config = PretrainConfig(
        "",
        "",
        "",
        encoder=args.encoder,
        image_size=args.image_size,
        decoder_depth=args.decoder_depth,
        decoder_width=args.decoder_width,
    ).resolved()
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, shape), tf.float32)
    steps = {
        f"ratio {share:g}": step(config, images, share, args.precision)
        for share in (args.mask_ratio, 0.0)
    }
    times = in_turn(steps, args.repeats, warmups=1)
    print(
        f"{args.encoder}, decoder {config.decoder_depth} x {config.decoder_width}, "
        f"{args.image_size} px, batch {args.batch_size}, {args.precision}, {machine()}"
    )
    for name, seconds in times.items():
        print(f"{name:12} {1000 * np.median(seconds) / args.batch_size:8.1f} ms per image")
    print(f"{' / '.join(times)}: {ratio(*times.values())}")


if __name__ == "__main__":
    main()
