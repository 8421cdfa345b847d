"""The two phases: what trains in each, with which optimizer, and the statistics to start from.

Phase 1 trains the head (`head_*`), phase 2 everything. A pretrained encoder's BatchNorm stays in
inference mode throughout: its statistics, scales and shifts are those of its large data set, and
small batches would only blur them.
"""

import contextlib

import keras
from keras import ops

from fundus_diag.config import STEPS
from fundus_diag.models.classifier import block_of
from fundus_diag.utils.variables import assign, values


class AdamW(keras.optimizers.Adam):
    """Adam with decoupled weight decay and a learning rate of its own for every variable.

    Source: Loshchilov and Hutter 2019, algorithm 2, https://arxiv.org/abs/1711.05101; the decay
    goes with the variable's own rate. The moving average of weights is left alone when `fit` ends:
    `fit` runs once per epoch here, and Keras would replace the weights by their average each time.

    Args:
        learning_rate: rate or schedule.
        factors: {path of a variable: factor on its rate}; 1 for those not named.
        decay: weight decay of kernels. Biases, scales and shifts of norms, tokens and position
            embeddings have none.
    """

    def __init__(self, learning_rate, factors=None, decay=0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.factors, self.decay = factors or {}, decay

    def build(self, variables):
        super().build(variables)
        self._rates = [self.factors.get(v.path, 1.0) for v in variables]
        self._decays = [self.decay if v.name.endswith("kernel") else 0.0 for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self._rates[index]
        if self._decays[index]:
            self.assign_sub(variable, variable * rate * self._decays[index])
        super().update_step(gradient, variable, rate)

    def finalize_variable_values(self, var_list):
        """Keeps the weights as trained; `averaged` swaps the averages in where they are wanted."""


class TenthSteps(keras.optimizers.schedules.LearningRateSchedule):
    """A tenth of the rate after each of `STEPS` equal parts of `total` steps.

    Over the first `warmup` steps the rate rises linearly from 0 beside that.
    """

    def __init__(self, peak, total, warmup=0):
        self.peak, self.total, self.warmup = peak, total, warmup

    def __call__(self, step):
        step = ops.cast(step, "float32")
        part = ops.minimum(ops.floor(step * STEPS / self.total), STEPS - 1)
        rise = ops.minimum(step / self.warmup, 1.0) if self.warmup else 1.0
        return self.peak * ops.power(0.1, part) * rise

    def get_config(self):
        return {"peak": self.peak, "total": self.total, "warmup": self.warmup}


def set_trainable(model, phase, pretrained):
    """Freezes and unfreezes layers for a phase. The model has to be compiled after it."""
    for layer in model.layers:
        frozen_statistics = pretrained and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name.startswith("head_") or (phase == 2 and not frozen_statistics)


def compile_phase(model, phase, config, loss, steps, pretrained):
    """Sets what trains and compiles with a new optimizer: warm-up, then a cosine or steps.

    Args:
        config: `TrainConfig`, resolved.
        loss: Keras loss.
        steps: steps of an epoch.
    """
    set_trainable(model, phase, pretrained)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras's .99 reaches back a hundred steps: where an epoch has fewer, the statistics
            # would be of weights long gone.
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


def layer_rates(model, decay):
    """{path: factor} on the learning rate of every variable: `decay` for each block further down.

    The head has 1, the last block `decay`, the one below it `decay` squared, and so on to the
    embedding of the picture. Source: Bao et al. 2022, "BEiT", appendix on fine-tuning,
    https://arxiv.org/abs/2106.08254; MAE and RETFound fine-tune so.
    """
    blocks = []
    for layer in model.layers:
        if layer.weights and block_of(layer.name) not in ("head", *blocks):
            blocks.append(block_of(layer.name))
    depth = {"head": 0} | {name: i for i, name in enumerate(reversed(blocks), start=1)}
    return {
        variable.path: decay ** depth[block_of(layer.name)]
        for layer in model.layers
        for variable in layer.weights
    }


def _momentum(steps):
    """Momentum of an exponential average that reaches back about so many steps."""
    return 1 - 1 / max(2.0, steps)


@contextlib.contextmanager
def averaged(model):
    """The model with the optimizer's moving averages in place of its weights, if it keeps any."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    # Keras offers no public way to read the averages; its own SwapEMAWeights takes them here too.
    averages = [a for a in optimizer._model_variables_moving_average if a is not None]
    trained = values(model.trainable_variables)
    assign(model.trainable_variables, values(averages), "average")
    try:
        yield
    finally:
        assign(model.trainable_variables, trained, "weights")


def _on_cpu():
    from fundus_diag.utils.mixed_precision import has_gpu

    return keras.backend.backend() == "tensorflow" and not has_gpu()
