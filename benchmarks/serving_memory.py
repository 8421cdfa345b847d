"""Memory of a process that loads an exported SavedModel and answers, TensorFlow alone.

    python benchmarks/serving_memory.py reports/exports/saved_model PHOTOGRAPH

Resident set of each step and the size of the folder on disk, MiB.
"""

import argparse
from pathlib import Path

import tensorflow as tf
from common import resident


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("photograph", type=Path)
    args = parser.parse_args()
    data = tf.constant(args.photograph.read_bytes())
    on_disk = sum(x.stat().st_size for x in args.export.rglob("*") if x.is_file())
    steps = {"on disk": on_disk / 2**20, "TensorFlow": resident()}
    served = tf.saved_model.load(str(args.export / "1")).signatures
    steps["loaded"] = resident()
    served["serving_default"](image_bytes=data[None])
    steps["answered"] = resident()
    if "explain" in served:
        served["explain"](image_bytes=data, labels=tf.zeros((0,), tf.int32))
        steps["explained"] = resident()
    print(", ".join(f"{name} {size:.0f}" for name, size in steps.items()))


if __name__ == "__main__":
    main()
