"""Classification as the loop's task: rows of a table, and what their labels' scores say."""

from dataclasses import dataclass

import keras
import numpy as np

from fundus_diag.data.inputs import Inputs
from fundus_diag.data.pipeline import scoring_batches, training_batches
from fundus_diag.runs.freeze import inference
from fundus_diag.training import features, jax_hosts, sampling, validation
from fundus_diag.training.callbacks import label_scores, summary_line
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.loop import Learner, Task, statistics_rows
from fundus_diag.training.losses import WeightedBinaryCrossentropy, grade_loss


@dataclass(frozen=True)
class Classes:
    """What a classifier learns from.

    Attributes:
        factors: (N,) how often each row of train stands in an epoch.
        weights: (L,) of the labels' positives, before any re-weighting.
    """

    config: TrainConfig
    model: keras.Model
    inputs: Inputs
    labels: list
    pretrained: bool
    factors: np.ndarray
    weights: np.ndarray
    hosts: jax_hosts.Hosts = jax_hosts.ALONE


def classification(config, model, inputs, labels, pretrained, plan, hosts=jax_hosts.ALONE):
    """The `loop.Task` of a classifier; `plan` is what `sampling.sampling_plan` gives."""
    factors, _, weights = plan
    graded, smoothing = config.task == "grade", config.label_smoothing
    loss = grade_loss(smoothing) if graded else WeightedBinaryCrossentropy(weights, smoothing)
    labels, judge = list(labels), validation.JUDGES[config.select]
    classes = Classes(config, model, inputs, labels, pretrained, factors, weights, hosts)
    rows = inputs.splits["train"].pictures
    return Task(
        loss=loss,
        steps=steps_of(config, factors),
        learner=lambda phase: _learner(classes, phase),
        score=lambda learner: _score(classes, learner, loss),
        judge=judge,
        judged=validation.JUDGED[judge],
        line=lambda row: summary_line(row, labels),
        bar=lambda history: label_scores(history, labels),
        first_look=lambda: scoring_batches(inputs.pictures, rows, config.batch_size),
        kept={} if graded else {"pos_weight": [loss.pos_weight]},
    )


def steps_of(config, factors):
    """Steps of an epoch; `factors`: how often each row stands in it, (N,)."""
    return max(1, int(factors.sum()) // config.batch_size)


def _learner(classes, phase):
    """The `Learner` of a phase: the head alone where a pretrained encoder is frozen."""
    if phase == 2 or not classes.pretrained or not classes.config.phase1_views:
        return _whole(classes)
    return _head(classes)


def _whole(classes):
    """The `Learner` of all of the network."""
    config, inputs = classes.config, classes.inputs
    train, val = inputs.splits["train"], inputs.splits["val"]
    rows = train.pictures
    some = rows[statistics_rows(len(rows), config.batch_size, config.seed)]

    def batches(epoch):
        order = sampling.draw_epoch(classes.factors, config.seed, epoch)
        augmented = augmentation(config, epoch)
        found = training_batches(
            inputs.pictures, rows, train.y, order, config.batch_size, augmented
        )
        return jax_hosts.part(classes.hosts, found)

    return Learner(
        classes.model,
        batches,
        scoring_batches(inputs.pictures, val.pictures, config.batch_size),
        scoring_batches(inputs.pictures, some, config.batch_size),
        # Not `model.predict`: over several devices it hands one of them the empty rest of the last
        # batch, on which BatchNorm fails.
        inference(classes.model),
    )


def _head(classes):
    """The `Learner` of the head, on features that are computed here."""
    config, inputs = classes.config, classes.inputs
    # Of pictures, not of features: there is nothing to mix in them.
    changes = {**augmentation(config, 0), "mixup": 0.0, "cutmix": 0.0}
    del changes["seed"]
    found, ask = {}, features.asking(classes.model)
    for split, views in (("train", config.phase1_views), ("val", 1)):
        found[split] = features.of_rows(
            *(config, classes.model, ask, inputs.pictures, inputs.splits[split].pictures),
            *(views, changes, f"features of {split}"),
        )
    head, y = features.head_alone(classes.model), inputs.splits["train"].y

    def batches(epoch):
        order = sampling.draw_epoch(classes.factors, config.seed, epoch)
        numbers = [config.seed, epoch, 1]
        made = features.batches(found["train"], y, order, config.batch_size, numbers)
        return jax_hosts.part(classes.hosts, made)

    val = features.scoring(found["val"], config.batch_size)
    return Learner(head, batches, val, (), inference(head), look=found["train"].look)


def _score(classes, learner, loss):
    """The figures of `val`; with --reweight they set the weights of the next epoch's positives."""
    config, hosts, y = classes.config, classes.hosts, classes.inputs.splits["val"].y
    logits = np.zeros(y.shape, np.float32)
    if hosts.first:
        logits = np.concatenate([learner.score(inputs) for inputs in learner.val])
    logits = jax_hosts.shared(hosts, logits)
    # Not `loss(..)`: inside a strategy Keras divides that by the number of devices.
    known, said = (keras.ops.convert_to_tensor(x) for x in (y, logits))
    val_loss = float(np.mean(loss.call(known, said)))
    figures = validation.epoch_scores(y, logits, classes.labels, config.task)
    if config.reweight:
        confusion = validation.confusion_at_zero(y, logits)
        now = loss.pos_weight.numpy()
        loss.pos_weight.assign(
            sampling.reweight_by_sensitivity(now, classes.weights, confusion, bound=config.reweight)
        )
    return {"val_loss": val_loss, **figures}


def augmentation(config, epoch):
    """Arguments of `augment.augmenter` for an epoch."""
    return {
        "seed": [config.seed, epoch],
        "geometry": config.augment,
        "colour": config.augment,
        "mixup": config.mixup,
        "cutmix": config.cutmix,
        "rand_augment": config.rand_augment,
    }
