"""Memory of `explain` over many photographs: resident set after every hundredth.

    python benchmarks/explain_memory.py --run reports/demo \
        --manifest reports/demo_photographs/manifest.csv --count 1000
"""

import argparse
import tempfile
from pathlib import Path

from common import resident

from fundus_diag import load_run
from fundus_diag.explain import explain
from fundus_diag.runs.cases import cases_of_manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    flags = parser.parse_args()
    run = load_run(flags.run)
    cases = cases_of_manifest(run, flags.manifest, flags.manifest.parent)[: flags.count]
    write_case, sizes = explain.write_case, []

    def counted(*args):
        write_case(*args)
        sizes.append(resident())
        if len(sizes) % 100 == 0:
            print(f"{len(sizes)} photographs: {sizes[-1]:.0f} MiB", flush=True)

    explain.write_case = counted
    with tempfile.TemporaryDirectory() as out:
        explain.explain(run, out, cases)
    tenth = len(sizes) // 10
    print(f"from photograph {tenth} to {len(sizes)}: {sizes[-1] / sizes[tenth - 1]:.3f} times")


if __name__ == "__main__":
    main()
