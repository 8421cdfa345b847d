"""Work on many items by the workers of Ray, on this machine or on the cluster of RAY_ADDRESS.

Ray Data hands the items out: a worker gets the next one when it has room for it, one that dies is
started again, and its item with it.
"""

import contextlib
import io
import logging
import os
import pickle
import socket
import sys
import warnings

from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.processes import unheard

WAIT = 10  # s for a cluster to take a connection
RETRIES = 3  # of an item whose worker died


def check_engine(engine, workers, flag="--engine"):
    """Raises UsageError where flags of the engine do not fit, or Ray is not installed."""
    if engine != "ray" and workers is not None:
        raise UsageError(f"--workers: of {flag} ray")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: at least 1")
    if engine == "ray":
        _ray()


def over_ray(make, items, workers=None, title="working"):
    """Yields (number, result) of each item, as they come.

    Args:
        make: picklable function of the number of cores of a worker, called once in each of them; it
            returns the function of an item. What that raises of this package's errors is raised
            here.
        items: list of what can be pickled.
        workers: number of them; None is one a machine of the cluster.
        title: of the progress bar.

    Raises:
        UsageError: there are not as many cores as workers.
        DataError: workers died again and again, or the cluster cannot be reached.
    """
    # Here: it imports rich, and commands look at their flags above without it.
    from fundus_diag.utils.progress import track

    if not items:
        return
    with _started() as ray:
        shares = _shares(ray, workers)
        rows = [{"number": k, "item": pickle.dumps(item)} for k, item in enumerate(items)]
        found = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=shares.pop("workers")),
            fn_constructor_args=(make, shares["num_cpus"]),
            # Else an item that kills its worker would be tried for ever. Deprecated, with nothing
            # in its place.
            max_task_retries=RETRIES,
            **shares,
        )
        try:
            for row in track(found.iter_rows(), title, len(rows)):
                kind, result, said = pickle.loads(row["result"])  # of our own workers
                print(said, end="", file=sys.stderr)
                if kind is not None:
                    raise kind(result)
                yield row["number"], result
        except ray.exceptions.RayError as error:
            what = f"{type(error).__name__}: {_line(error)}"
            raise DataError(f"Ray: workers died again and again: {what}") from error


def share_of_cores(cores):
    """Keeps TensorFlow to so many cores: for a worker, before it computes."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)


class _Notes(io.StringIO):
    """In place of stdout, which Ray tells at length of workers that died: one line each."""

    def write(self, text):
        if "worker died" in text:
            print("note: a worker died; it is started again", file=sys.stderr)
        return len(text)


class _Worker:
    def __init__(self, make, cores):
        self.work = make(cores)

    def __call__(self, batch):
        return {"number": batch["number"], "result": [self._of(x) for x in batch["item"]]}

    def _of(self, item):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                kind, found = None, self.work(pickle.loads(item))
            except (DataError, UsageError) as error:
                kind, found = type(error), str(error)
        return pickle.dumps((kind, found, said.getvalue()))


def _ray():
    try:
        # What its servers write is in its own logs.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("Ray is not installed; pip install '.[ray]' in the clone") from error
    return ray


@contextlib.contextmanager
def _started():
    ray = _ray()
    quietly = warnings.catch_warnings(action="ignore", category=DeprecationWarning)  # its own
    with contextlib.redirect_stdout(_Notes()), quietly:
        try:
            _connect(ray)
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it says is raised too
            ray.data.DataContext.get_current().enable_progress_bars = False
            yield ray
        finally:
            ray.shutdown()


def _connect(ray):
    address, failed = os.environ.get("RAY_ADDRESS"), None
    with unheard():
        try:
            if address:
                _knock(address)
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            else:
                ray.init(
                    "local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            failed = error
    if failed:
        where = f"RAY_ADDRESS={address}" if address else "a server on this machine"
        raise DataError(
            f"Ray: {where} cannot be reached: {_line(failed)} (a cluster that asks for a token "
            "needs RAY_AUTH_MODE=token)"
        ) from failed


def _knock(address):
    """Raises OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=WAIT).close()


def _line(error):
    return " ".join(str(error).split())[:200] or type(error).__name__


def _shares(ray, workers):
    """{"workers", "num_cpus"[, "num_gpus"]}: how the cluster's cores and GPUs are shared out."""
    nodes = [x["Resources"] for x in ray.nodes() if x["Alive"] and x["Resources"].get("CPU")]
    workers = workers or len(nodes)
    total = int(sum(x["CPU"] for x in nodes))
    if workers > total:
        raise UsageError(f"--workers {workers}: the cluster has {total} cores")
    # What the smallest machine can give to its share of the workers.
    each = max(1, int(min(x["CPU"] for x in nodes) // -(-workers // len(nodes))))
    gpus = ray.cluster_resources().get("GPU", 0)
    more = {"num_gpus": 1} if gpus >= workers else {}
    return {"workers": workers, "num_cpus": each, **more}
