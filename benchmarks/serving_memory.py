"""Memory of a process that loads an exported SavedModel and answers, TensorFlow alone.

    python benchmarks/serving_memory.py reports/exports/saved_model PHOTOGRAPH [--rows 1 16 64 200]

Size of the newest version on disk, the resident set once it is loaded, and after each request the
largest that it has been so far, MiB.
"""

import argparse
import resource
from pathlib import Path

import tensorflow as tf
from common import resident


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 200])
    args = parser.parse_args()
    data = args.photograph.read_bytes()
    version = max((x for x in args.export.iterdir() if x.name.isdigit()), key=lambda x: int(x.name))
    on_disk = sum(x.stat().st_size for x in version.rglob("*") if x.is_file())
    steps = {"on disk": on_disk / 2**20, "TensorFlow": resident()}
    served = tf.saved_model.load(str(version)).signatures
    steps["loaded"] = resident()
    for rows in args.rows:
        served["serving_default"](image_bytes=tf.constant([data] * rows))
        steps[f"{rows} rows answered"] = peak()
    if "explain" in served:
        for rows in args.rows:
            label = tf.constant([-1] * rows)
            served["explain"](image_bytes=tf.constant([data] * rows), label=label)
            steps[f"{rows} rows explained"] = peak()
    print(", ".join(f"{name} {size:.0f}" for name, size in steps.items()))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
