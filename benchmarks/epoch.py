"""Where the time of an epoch goes: a training of two phases, with its parts under a clock.

    python benchmarks/epoch.py --manifest reports/demo_photographs/manifest.csv [--phase2-epochs 3]

Seconds of the last epoch of each phase: its batches forth and back, the statistics of averaged
weights, val forth with its scores, the state written to disk. How much of the processors' time the
batches themselves take is found by making the same ones again, alone.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

from common import machine

from fundus_diag.training import checkpoint, classify, epochs, loop, phases
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.train import train


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", default="se_xception_small")
    parser.add_argument("--image-size", type=int, default=128, help="px")
    parser.add_argument("--phase1-epochs", type=int, default=2)
    parser.add_argument("--phase2-epochs", type=int, default=3)
    args = parser.parse_args()
    clock = Clock()
    clock.watch(epochs, "fit_epoch", "forth and back")
    clock.watch(checkpoint, "save_arrays", "writing the state")
    clock.watch_entering(phases, "averaged", "statistics of averages")
    clock.watch(loop, "_run_epoch", "epoch")
    clock.keep_batches()
    print(f"{args.encoder}, {args.image_size} px, {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        lengths = {
            "phase1_epochs": args.phase1_epochs,
            "phase2_epochs": args.phase2_epochs,
        }
        config = TrainConfig(
            args.manifest, args.manifest.parent, Path(folder) / "run",
            encoder=args.encoder, weights="none", image_size=args.image_size, **lengths,
        )  # fmt: skip
        train(config)
    for phase, at in ((1, args.phase1_epochs - 1), (2, -1)):
        clock.say(phase, at)


class Clock:
    """Seconds of functions, epoch by epoch: `wall` and `work` (of all processors) by name."""

    def __init__(self):
        self.rows, self.now, self.made = [], {}, []

    @contextlib.contextmanager
    def counting(self, name):
        wall, work = time.perf_counter(), time.process_time()
        yield
        spent = time.perf_counter() - wall, time.process_time() - work
        before = self.now.get(name, (0, 0))
        self.now[name] = tuple(a + b for a, b in zip(before, spent, strict=True))
        if name == "epoch":
            self.rows.append(self.now)
            self.now = {}

    def watch(self, module, function, name):
        inner = getattr(module, function)

        def counted(*args, **named):
            with self.counting(name):
                return inner(*args, **named)

        setattr(module, function, counted)

    def watch_entering(self, module, function, name):
        inner = getattr(module, function)

        @contextlib.contextmanager
        def counted(*args):
            context = inner(*args)
            with self.counting(name):
                context.__enter__()
            try:
                yield
            finally:
                context.__exit__(None, None, None)

        setattr(module, function, counted)

    def keep_batches(self):
        inner = classify.training_batches

        def kept(*args):
            self.made.append(inner(*args))
            return self.made[-1]

        classify.training_batches = kept

    def say(self, phase, at):
        row = dict(self.rows[at])
        whole, work = row.pop("epoch")
        row["val and its scores"] = whole - sum(wall for wall, _ in row.values()), 0
        print(f"phase {phase}, an epoch: {whole:.1f} s")
        for name, (wall, _) in sorted(row.items(), key=lambda x: -x[1][0]):
            print(f"  {name}: {wall:.1f} s, {wall / whole:.0%}")
        started = time.process_time()
        for _ in self.made[at]:
            pass
        alone = time.process_time() - started
        print(f"  of {work:.0f} processor seconds the batches alone take {alone / work:.0%}")


if __name__ == "__main__":
    main()
