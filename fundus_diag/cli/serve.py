"""`fundus-diag serve`: a page, and the REST form of TensorFlow Serving."""

import importlib.util
import os
import secrets
import socket
from pathlib import Path

import tyro

from fundus_diag.cli.parsing import DISCLAIMER
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.utils.errors import UsageError

NEEDED = ("fastapi", "uvicorn", "prometheus_client")
TOKEN = "FUNDUS_DIAG_TOKEN"


def serve(
    run: tyro.conf.Positional[Path | None] = None,
    /,
    model: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8501,
    name: str | None = None,
    allow_host: tuple[str, ...] = (),
    max_batch: int = 16,
    wait_ms: float = 4.0,
    max_waiting: int = 64,
):
    """Answer photographs on a web page, and programs in the REST form of TensorFlow Serving.

    Reached from this machine alone unless --host says otherwise; then a token is asked for: that of
    the variable FUNDUS_DIAG_TOKEN, or one that is drawn and printed. What is sent is neither stored
    nor logged.

    Args:
        run: Run directory.
        model: In its place: a SavedModel of `export`, its folder of versions or one of them.
        host: Address to listen on.
        port: Port to listen on; 0: one that is free.
        name: Of the model in addresses. Default: that of the folder.
        allow_host: Further names by which this machine is called.
        max_batch: Rows of several requests that are answered together.
        wait_ms: Milliseconds that a request waits for others.
        max_waiting: Requests that may wait; more are told to come again.

    Example:
        fundus-diag serve reports/odir
    """
    missing = [x for x in NEEDED if importlib.util.find_spec(x) is None]
    if missing:
        raise UsageError(
            f"serve: {' and '.join(missing)} not installed; pip install '.[serve]' in the clone"
        )
    if (run is None) == (model is None):
        raise UsageError("name a run, or an export by --model: one of the two")
    for flag, value, least in (("--max-batch", max_batch, 1), ("--max-waiting", max_waiting, 1),
                               ("--wait-ms", wait_ms, 0)):  # fmt: skip
        if not value >= least:
            raise UsageError(f"{flag} {value}: at least {least}")
    if name is not None and (not name or not name.replace("-", "").replace("_", "").isalnum()):
        raise UsageError(f"--name {name!r}: letters, digits, - and _")
    listening = _listen(host, port)
    with listening:
        import_tensorflow()
        import uvicorn

        from fundus_diag.serve.app import make_app
        from fundus_diag.serve.guard import is_loopback, known_hosts
        from fundus_diag.serve.served import served_export, served_run
        from fundus_diag.serve.warmup import warm_up

        token = os.environ.get(TOKEN) or None
        if token is None and not is_loopback(host):
            token = secrets.token_urlsafe(24)
        served = served_run(run, name) if model is None else served_export(model, name)
        print("warming up ..", flush=True)
        warm_up(served)
        hosts = known_hosts(host, allow_host)
        app = make_app(served, hosts, token, max_batch, wait_ms / 1000, max_waiting)
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        where = f"http://{shown}:{listening.getsockname()[1]}"
        print(DISCLAIMER)
        print(f"page: {where}/{f'?token={token}' if token else ''}")
        print(f"programs: {where}/v1/models/{served.name}:predict", flush=True)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False,
            timeout_keep_alive=15, timeout_graceful_shutdown=10,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host, port):
    """A socket that listens; it is taken before the model is loaded."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: must lie from 0 to 65535")
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--host {host}: no such address: {error.strerror}") from error
    listening = socket.socket(kind, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UsageError(f"--host {host} --port {port}: {error.strerror}") from error
    return listening
