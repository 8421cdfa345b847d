"""Several machines that train one network, where Keras runs on JAX.

Each runs the same command and reads all photographs; every batch is made by all of them alike, and
each computes its own part of it. The first host alone writes the run. What follows is what one
machine with that batch would compute, but for the order of sums.
"""

import contextlib
import ctypes
import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass

from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.keras_settings import chosen_backend

CHILD = "FUNDUS_DIAG_HOST"  # in the environment of the process that trains
JOINED = "fundus_diag: all hosts are here"
# Lines of C++: of a log, of a stack.
NOISE = re.compile(
    r"[IWEF]\d{4} |\s+@ |\*\*\* |\[symbolize|WARNING: All log messages|RPC: |:UNKNOWN|"
    r"Additional GRPC|$"
)
DIES_WITH_ITS_PARENT = 1  # of Linux's prctl
TIMEOUT = 60  # s for the others to come, and for one that is gone to be missed


@dataclass(frozen=True)
class Hosts:
    """The machines of a training.

    Attributes:
        count: how many.
        index: which one this is, from 0.
        coordinator: ADDRESS:PORT of the first one, that all can reach.
    """

    count: int = 1
    index: int = 0
    coordinator: str | None = None

    @property
    def first(self):
        """Whether this one writes."""
        return self.index == 0

    def check(self):
        """Raises UsageError where the flags do not fit each other."""
        if self.count > 1 and chosen_backend()[0] != "jax":
            raise UsageError("--hosts: needs KERAS_BACKEND=jax; TensorFlow trains on one machine")
        if self.count < 1:
            raise UsageError(f"--hosts {self.count}: at least 1")
        if not 0 <= self.index < self.count:
            raise UsageError(f"--host-index {self.index}: from 0 to {self.count - 1}")
        if self.count > 1 and not self.coordinator:
            raise UsageError("--hosts: needs --coordinator ADDRESS:PORT, of the first of them")
        if self.count == 1 and self.coordinator:
            raise UsageError("--coordinator: of several --hosts")
        host, _, port = (self.coordinator or "host:1").rpartition(":")
        if not (host and port.isdigit() and 0 < int(port) < 2**16):
            raise UsageError(f"--coordinator {self.coordinator}: not ADDRESS:PORT")


ALONE = Hosts()


def watched(hosts):
    """Runs this process's own command again in a child, and tells of it how it ended.

    JAX ends a process from C++, with pages, where a host is gone or does not come: what the child
    says is handed on, without these.

    Returns:
        The exit status; None in the child, which has to train.
    """
    if os.environ.get(CHILD):
        return None
    command = [sys.executable, *sys.orig_argv[1:]]
    given = {**os.environ, CHILD: "1"}
    joined = False
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=given, preexec_fn=_tied
    ) as child:
        try:
            for line in child.stderr:
                joined |= line.strip() == JOINED
                if not NOISE.match(line) and line.strip() != JOINED:
                    print(line, end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:  # the child has it too, and says so
            pass
    if child.returncode >= 0:
        return child.returncode
    line = f"not all of {hosts.count} hosts came to {hosts.coordinator} within {TIMEOUT} s"
    raise DataError("another host is gone; start all again with --resume" if joined else line)


def _tied():
    """Lets a child that was begun end with its parent, however that ends, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_ITS_PARENT, signal.SIGTERM)


def join(hosts):
    """Connects the hosts; what JAX computes has to come after it.

    Where not all come in time, JAX ends the process: see `watched`.
    """
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        hosts.coordinator,
        hosts.count,
        hosts.index,
        initialization_timeout=TIMEOUT,
        heartbeat_timeout_seconds=TIMEOUT,
    )
    print(JOINED, file=sys.stderr, flush=True)


def spread():
    """Trains on all devices of JAX, if there are several; returns their number."""
    import jax
    import keras

    count = len(jax.devices())
    if count > 1:
        data = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(data)
    return count


def agree(hosts, facts):
    """Refuses to train where the hosts were not told the same.

    Args:
        hosts: `Hosts`.
        facts: {what: text} that has to be equal on all.

    Raises:
        UsageError: says what is not.
    """
    if hosts.count == 1:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    digests = [hashlib.sha256(text.encode()).digest() for text in facts.values()]
    mine = np.frombuffer(b"".join(digests), np.uint8).reshape(len(facts), -1)
    found = np.asarray(multihost_utils.process_allgather(mine))
    for what, theirs in zip(facts, np.moveaxis(found, 1, 0), strict=True):
        other = [k for k in range(hosts.count) if (theirs[k] != theirs[0]).any()]
        if other:
            raise UsageError(f"--hosts: {what} of host {other[0]} is not that of host 0")


_COUNT = itertools.count()


def wait(hosts):
    """Until all hosts are here."""
    if hosts.count > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"fundus_diag {next(_COUNT)}")


def part(hosts, batches):
    """This host's part of training batches (inputs, y), all rows of which have its turn."""
    if hosts.count == 1:
        return batches
    import tensorflow as tf

    def take(*batch):
        return tf.nest.map_structure(lambda x: _part(x, hosts), batch)

    return batches.map(take)


def _part(array, hosts):
    import tensorflow as tf

    size = tf.shape(array)[0] // hosts.count
    return array[hosts.index * size : (hosts.index + 1) * size]


def shared(hosts, array):
    """The array of the first host, on all; the others give one of its shape and type."""
    if hosts.count == 1:
        return array
    import numpy as np
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


@contextlib.contextmanager
def together(hosts):
    """Joins the hosts for the block, and ends this process where the block ends with an error.

    JAX's own way out waits for the others for minutes, and then says so on pages. Where another
    host is gone, that is the one line.
    """
    if hosts.count == 1:
        yield
        return
    join(hosts)
    import jax

    try:
        yield
        wait(hosts)
        jax.distributed.shutdown()
    except DataError as error:
        _end(1, error)
    except UsageError as error:
        _end(2, error)
    except KeyboardInterrupt as stop:
        _end(130, str(stop) or "interrupted")
    except BaseException as error:
        if not isinstance(error, jax.errors.JaxRuntimeError) and "Gloo" not in str(error):
            _end(1, traceback.format_exc())
        what = " ".join(str(error).split())[:120]
        _end(1, f"another host is gone ({what}); start all again with --resume")


def _end(status, line):
    print(f"fundus-diag: {line}", file=sys.stderr, flush=True)
    os._exit(status)
