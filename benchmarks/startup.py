"""Time to import the command line, beside that of the libraries that it cannot do without.

    python benchmarks/startup.py [--repeats 15]

Whole processes in turn. Ratio: median with lowest and highest.
"""

import argparse
import subprocess
import sys

from common import in_turn, machine, ratio

IMPORTS = {
    "libraries": "import tyro",
    "command line": "import fundus_diag.cli",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    calls = {
        name: lambda code=code: subprocess.run([sys.executable, "-c", code], check=True)
        for name, code in IMPORTS.items()
    }
    times = in_turn(calls, args.repeats)
    print(f"{machine()}, {args.repeats} runs")
    print(f"command line / libraries: {ratio(times['command line'], times['libraries'])}")


if __name__ == "__main__":
    main()
