"""The two phases: what trains in each, with which optimizer and averages.

Phase 1 trains the head (`head_*`), phase 2 everything. A pretrained encoder's BatchNorm stays in
inference mode throughout: its statistics, scales and shifts are those of its large data set, and
small batches would only blur them.
"""

import contextlib

import keras

from fundus_diag.models.batch_norm import batch_norms, calibrate_batch_norm
from fundus_diag.models.classifier import block_of, blocks_of
from fundus_diag.training.optimizers import AdamW, TenthSteps, layer_rates
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.variables import assign, values


def set_trainable(model, phase, pretrained, unfreeze_from=None):
    """Freezes and unfreezes layers for a phase. The model has to be compiled after it.

    Args:
        unfreeze_from: the first block of the encoder, see `block_of`, that phase 2 trains; None is
            the first of all.
    """
    blocks = blocks_of(model)
    frozen = blocks[: blocks.index(unfreeze_from)] if unfreeze_from else []
    for layer in model.layers:
        frozen_statistics = pretrained and isinstance(layer, keras.layers.BatchNormalization)
        still = frozen_statistics or block_of(layer.name) in frozen
        layer.trainable = layer.name.startswith("head_") or (phase == 2 and not still)


def check_block(model, name):
    """Raises UsageError where `--unfreeze-from` names no block of the classifier's encoder."""
    blocks = blocks_of(model)
    if name is not None and name not in blocks:
        raise UsageError(f"--unfreeze-from {name}: the blocks are {', '.join(blocks)}")


def compile_phase(model, phase, config, loss, steps, pretrained):
    """Sets what trains and compiles with a new optimizer: warm-up, then a cosine or steps.

    Args:
        config: `TrainConfig`, resolved.
        loss: Keras loss.
        steps: steps of an epoch.
    """
    set_trainable(model, phase, pretrained, config.unfreeze_from if phase == 2 else None)
    for layer in batch_norms(model):
        # Keras's .99 reaches back a hundred steps: where an epoch has fewer, the statistics would
        # be of weights long gone.
        layer.momentum = min(0.99, _momentum(steps))
    peak = config.phase1_rate if phase == 1 else config.phase2_rate
    total = steps * (config.phase1_epochs if phase == 1 else config.phase2_epochs)
    warmup = int(config.warmup * total)
    if config.schedule == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else peak,
            decay_steps=max(1, total - warmup),
            alpha=config.final_rate,
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
    else:
        schedule = TenthSteps(peak, total, warmup)
    optimizer = AdamW(
        schedule,
        layer_rates(model, config.layer_decay),
        config.weight_decay,
        global_clipnorm=config.clip_norm or None,
        use_ema=config.ema > 0,
        ema_momentum=_momentum(config.ema * steps),
    )
    # Fresh from `trainable`: without a new compile, `fit` goes on updating what is now frozen.
    # XLA makes this network several times slower on a CPU.
    model.compile(optimizer, loss, jit_compile=False if _on_cpu() else "auto")
    # Mixed float16 wraps the optimizer to scale the loss.
    model.optimizer.build(model.trainable_variables)


def _momentum(steps):
    """Momentum of an exponential average that reaches back about so many steps."""
    return 1 - 1 / max(2.0, steps)


@contextlib.contextmanager
def averaged(model, batches):
    """The model with the optimizer's moving averages in place of its weights, if it keeps any.

    The statistics of BatchNorm belong to the weights that they were taken with. Where BatchNorm
    trains, those of the averages are taken from `batches` (Izmailov et al. 2018, section 3.2,
    https://arxiv.org/abs/1803.05407); where it does not, they stay. Afterwards weights and
    statistics are as they were.

    Args:
        model: compiled.
        batches: inputs of photographs of `train`.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    # Keras offers no public way to read the averages; its own SwapEMAWeights takes them here too.
    averages = [a for a in optimizer._model_variables_moving_average if a is not None]
    norms = [x for x in batch_norms(model) if x.trainable]
    statistics = [v for x in norms for v in (x.moving_mean, x.moving_variance)]
    changed = [*model.trainable_variables, *statistics]
    trained = values(changed)
    assign(model.trainable_variables, values(averages), "average")
    try:
        calibrate_batch_norm(model, batches, norms)
        yield
    finally:
        assign(changed, trained, "weights")


def _on_cpu():
    if keras.backend.backend() != "tensorflow":
        return False
    # Here, for it imports TensorFlow, which a step on JAX does without.
    from fundus_diag.utils.mixed_precision import has_gpu

    return not has_gpu()
