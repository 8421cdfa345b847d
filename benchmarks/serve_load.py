"""`fundus-diag serve` under load: answers, photographs a second beside `predict`, memory, a kill.

    python benchmarks/serve_load.py [--run RUN] [--clients 50] [--seconds 60] [--repeats 3]

A server in a process of its own, clients in another, all on the same cores. First photographs that
are good, in turn with `predict` of as many files: photographs a second. Then, for `--seconds`,
good, broken and oversized ones mixed: every answer is compared with what the run says of its
photograph, and what is refused with what it has to be told. Then the server is killed under load
and started again. Without --run: one of random weights, and drawn photographs of 1,024 px.
"""

import argparse
import base64
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import numpy as np
from common import COMMAND, machine, make_run, ratio

PHOTOGRAPHS = 24  # different ones
COPIES = 12  # of each
SLACK = 1e-4  # of a probability
BROKEN = {"truncated": lambda x: x[: len(x) // 2], "text": lambda x: b"no photograph"}
HUGE = 200 * 2**20  # bytes of an oversized body, declared


def start(run, port):
    """The server's process, once it answers."""
    words = [*COMMAND, "serve", str(run), "--port", str(port), "--name", "run"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("programs: "):
            return process
    raise RuntimeError("the server did not start")


def resident(process):
    """Resident set of a process, MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def load(port, bodies, clients, seconds, queue):
    """Asks the server from many clients; puts (kind, status, probabilities, error, seconds) rows.

    Args:
        bodies: list of (kind, bytes of a request or None: one that is too large).
        queue: gets a list of rows.
    """
    rows, lock, end = [], threading.Lock(), time.monotonic() + seconds

    def client(number):
        rng, mine = np.random.default_rng(number), []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.monotonic() < end:
            kind, body = bodies[rng.integers(len(bodies))]
            started = time.perf_counter()
            try:
                if body is None:
                    connection.putrequest("POST", "/v1/models/run:predict")
                    connection.putheader("Content-Length", str(HUGE))
                    connection.endheaders()
                else:
                    connection.request("POST", "/v1/models/run:predict", body)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                mine.append((kind, 0, None, repr(error), 0.0))
                connection.close()
                time.sleep(0.05)
                continue
            if body is None:
                connection.close()
            took = time.perf_counter() - started
            row = answer.get("predictions", [{}])[0]
            said = row.get("error", answer.get("error", ""))
            mine.append((kind, response.status, row.get("probability"), said, took))
            if response.status == 503:
                time.sleep(0.2 + 0.6 * rng.random())
        with lock:
            rows.extend(mine)

    threads = [threading.Thread(target=client, args=(k,)) for k in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(rows)


def loaded(port, bodies, clients, seconds, meanwhile=lambda: None):
    """Rows of `load` in a process of its own; `meanwhile` is called once a second."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=load, args=(port, bodies, clients, seconds, queue))
    process.start()
    while queue.empty() and process.is_alive():
        time.sleep(1)
        meanwhile()
    rows = queue.get()
    process.join()
    return rows


def checked(rows, want):
    """Counts of what was answered; ends where an answer is wrong."""
    counts = {}
    for kind, status, probability, said, _ in rows:
        counts[kind, status] = counts.get((kind, status), 0) + 1
        if status in (503, 0):
            continue
        if isinstance(kind, int):
            fine = status == 200 and np.abs(np.subtract(probability, want[kind])).max() < SLACK
        elif kind == "oversized":
            fine = status == 413
        else:
            fine = status == 200 and bool(said) and min(probability) == -1
        if not fine:
            sys.exit(f"wrong: {kind}: {status} {probability} {said}")
    return counts


def tally(counts):
    """The counts as text: good, broken, oversized; refused for a while; lost."""
    parts = {}
    for (kind, status), count in counts.items():
        name = "good" if isinstance(kind, int) else kind
        name += {503: ", told to come again", 0: ", connection lost"}.get(status, "")
        parts[name] = parts.get(name, 0) + count
    return "; ".join(f"{name} {count}" for name, count in sorted(parts.items()))


def photographs(folder):
    """Files of drawn photographs, and a table of so many links to them that `predict` is busy."""
    from fundus_diag.data.labels import EYES, LABELS
    from fundus_diag.data.manifest import read_manifest
    from fundus_diag.data.synthetic.camera import compress
    from fundus_diag.data.synthetic.eye import draw_eye

    files, rows = [], ["image,patient,eye"]
    for k in range(PHOTOGRAPHS):
        picture, _ = draw_eye((0, k), {LABELS[k % 7]}, EYES[k % 2], 1024)
        files.append(folder / f"{k}.jpg")
        files[-1].write_bytes(compress(picture, 92))
        for copy in range(COPIES):
            os.link(files[-1], folder / f"{k}-{copy}.jpg")
            rows.append(f"{k}-{copy}.jpg,{k}-{copy},left")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return files, read_manifest(folder / "table.csv", need_labels=False)


def body(data):
    """A request of one photograph."""
    instance = {"b64": base64.b64encode(data).decode()}
    return json.dumps({"instances": [instance]}).encode()


def beside_predict(run, table, folder, port, good, want, args):
    """Photographs a second of the server and of `predict`, in turn."""
    from fundus_diag.runs.predict import predict

    def alone():
        started = time.perf_counter()
        predict(run, table, folder, folder / "predictions.csv")
        return len(table.table) / (time.perf_counter() - started)

    loaded(port, good, args.clients, 5)
    alone()
    rates = []
    for _ in range(args.repeats):
        own = alone()
        found = loaded(port, good, args.clients, 20)
        checked(found, want)
        rates.append((sum(x[1] == 200 for x in found) / 20, own))
    served, own = np.transpose(rates)
    print(f"{run.config['encoder']}, {run.config['image_size']} px, {machine()}")
    print(f"photographs a second: served {np.median(served):.1f}, predict {np.median(own):.1f}")
    print(f"served / predict: {ratio(served, own)}", flush=True)


def under_load(process, port, mixed, want, args):
    """Good, broken and oversized requests: answers, times, memory."""
    memory = []
    watch = lambda: memory.append(resident(process))  # noqa: E731
    found = loaded(port, mixed, args.clients, args.seconds, watch)
    print(f"{args.clients} clients, {args.seconds:.0f} s: {tally(checked(found, want))}")
    took = np.array([x[4] for x in found if isinstance(x[0], int) and x[1] == 200])
    middle, worst = np.percentile(took, [50, 99])
    print(f"seconds to a good answer: median {middle:.2f}, 99th percentile {worst:.2f}")
    quarter = max(1, len(memory) // 4)
    early, late = np.median(memory[quarter : 2 * quarter]), np.median(memory[-quarter:])
    print(f"memory: {early:.0f} MiB in the second quarter, {late:.0f} in the last", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    from fundus_diag import load_run

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run_dir = args.run or folder / "run"
        if args.run is None:
            make_run(run_dir, args.encoder, args.image_size)
        files, table = photographs(folder)
        run = load_run(run_dir)
        want = run.predict(files)
        good = [(k, body(file.read_bytes())) for k, file in enumerate(files)]
        broken = [
            (name, body(damage(file.read_bytes())))
            for name, damage in BROKEN.items()
            for file in files[:3]
        ]
        mixed = [*good, *broken, *[("oversized", None)] * 3]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = start(run_dir, port)
        try:
            beside_predict(run, table, folder, port, good, want, args)
            under_load(process, port, mixed, want, args)
            before = set(run_dir.rglob("*"))
            threading.Timer(3, lambda: os.kill(process.pid, signal.SIGKILL)).start()
            loaded(port, mixed, args.clients, 6)
            process.wait()
            process = start(run_dir, port)
            counts = checked(loaded(port, mixed, args.clients, 5), want)
            left = len(set(run_dir.rglob("*")) - before)
            print(f"killed under load and started again: {tally(counts)}; files left: {left}")
        finally:
            process.kill()


if __name__ == "__main__":
    main()
