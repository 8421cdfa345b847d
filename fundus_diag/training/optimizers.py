"""The optimizer and its rates: by layer, by step."""

import keras
from keras import ops

from fundus_diag.models.classifier import block_of, blocks_of
from fundus_diag.training.recipes import STEPS


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


def layer_rates(model, decay):
    """{path: factor} on the learning rate of every variable: `decay` for each block further down.

    The head has 1, the last block `decay`, the one below it `decay` squared, and so on to the
    embedding of the picture. Source: Bao et al. 2022, "BEiT", appendix on fine-tuning,
    https://arxiv.org/abs/2106.08254; MAE and RETFound fine-tune so.
    """
    depth = {"head": 0}
    depth |= {name: i for i, name in enumerate(reversed(blocks_of(model)), start=1)}
    return {
        variable.path: decay ** depth[block_of(layer.name)]
        for layer in model.layers
        for variable in layer.weights
    }
