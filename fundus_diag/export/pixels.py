"""The network and its calibration for other runtimes: from pictures to probabilities.

They read no photographs: pictures are made by `preprocess`, or by the SavedModel's own code.
"""

import numpy as np
import tensorflow as tf

from fundus_diag.export.graph import calibrated, called
from fundus_diag.runs.freeze import input_spec

OUTPUTS = ("probability", "positive")


def pixel_function(run):
    """A concrete function of named pictures to {"probability", "positive"}, with variables."""
    spec = input_spec(run.model)
    if not isinstance(spec, dict):
        spec = {"images": spec}
    spec = {name: tf.TensorSpec(x.shape, x.dtype, name) for name, x in spec.items()}

    def answer(**inputs):
        inputs = inputs if len(inputs) > 1 else inputs["images"]
        probability = calibrated(run, run.model(inputs, training=False), tf.float32)
        return {"probability": probability, "positive": called(run, probability)}

    return tf.function(answer, autograph=False).get_concrete_function(**spec)


def as_arrays(batch):
    """A batch of `scoring_batches` as {name: array}."""
    batch = batch if isinstance(batch, dict) else {"images": batch}
    return {name: np.asarray(value) for name, value in batch.items()}
