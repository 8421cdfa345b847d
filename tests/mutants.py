"""Plants known faults, one at a time, and sees that the tests named for each of them fail.

    python tests/mutants.py [--only WORD ..] [--processes 2]    (make mutants)

The faults stand in `mutants.toml`: a file, its text, what the fault makes of it, and the tests that
have to notice: by failing, or by not coming to an end; of a whole file those that are not slow.
They are planted in copies; the checkout stays as it is. Status 1 where a fault goes unnoticed, or
where the tests fail without it.
"""

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("mutants.toml")
LEFT = ("reports", "build", "dist", "data")  # folders of the checkout that no test needs
DATA = "FUNDUS_DIAG_DATA"
LONGEST = 600  # s of the tests of one fault; without any they take a minute at most


def mutants():
    """[{"file", "old", "new", "tests"}], in the order of the list."""
    return tomllib.loads(LIST.read_text("utf-8"))["mutant"]


def said(mutant):
    """A mutant in one line."""
    old, new = (" ".join(mutant[x].split())[:60] for x in ("old", "new"))
    return f"{mutant['file'].removeprefix('fundus_diag/')}: {old} -> {new or 'nothing'}"


def planted(mutant, root=ROOT):
    """The text of the mutant's file with the fault in it.

    Raises:
        ValueError: what the fault changes does not stand there exactly once.
    """
    text = (root / mutant["file"]).read_text("utf-8")
    if text.count(mutant["old"]) != 1:
        found = text.count(mutant["old"])
        raise ValueError(f"{mutant['file']}: {mutant['old']!r} stands there {found} times")
    return text.replace(mutant["old"], mutant["new"])


def copy(folder):
    """A copy of what the tests need; they read the documents too."""
    folder.mkdir()
    for source in ROOT.iterdir():
        if source.name in LEFT or source.name.startswith(".") or source.suffix == ".egg-info":
            continue
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / source.name, ignore=ignored)
        else:
            shutil.copy(source, folder / source.name)
    return folder


def run(folder, tests, limit=None):
    """(whether the tests pass in a copy, the end of what they say); `limit`: seconds for them."""
    data = os.environ.get(DATA, ROOT.parent / "shared" / "data")
    environment = {**os.environ, "PYTHONPATH": str(folder), DATA: str(data)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a change within a second keeps its old bytecode
    whole = [test for test in tests if "::" not in test]
    named = [test for test in tests if "::" in test]  # longer ones too
    for select, chosen in ((["-m", "not slow"], whole), ([], named)):
        if not chosen:
            continue
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *select]
        try:
            done = subprocess.run(
                [*words, *chosen],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            return False, f"no end after {limit} s"
        if done.returncode not in (0, 1):  # no such test, a file that cannot be imported
            raise RuntimeError(f"{' '.join(chosen)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        if done.returncode:
            return False, done.stdout[-2000:]
    return True, ""


def noticed(folder, mutant):
    """Whether the tests fail with the fault in a copy, which is mended afterwards."""
    path = folder / mutant["file"]
    before = path.read_text("utf-8")
    path.write_text(planted(mutant, folder), "utf-8")
    try:
        return not run(folder, mutant["tests"], LONGEST)[0]
    finally:
        path.write_text(before, "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="words of files or tests")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    chosen = [
        x
        for x in mutants()
        if not args.only or any(word in " ".join([x["file"], *x["tests"]]) for word in args.only)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        copies = queue.SimpleQueue()
        for k in range(args.processes):
            copies.put(copy(Path(temporary) / str(k)))

        def with_copy(function, *arguments):
            folder = copies.get()
            try:
                return function(folder, *arguments)
            finally:
                copies.put(folder)

        tests = sorted({test for mutant in chosen for test in mutant["tests"]})
        fine, output = with_copy(run, tests)
        if not fine:
            sys.exit(f"the tests fail without any fault:\n{output}")
        with ThreadPoolExecutor(args.processes) as pool:
            found = pool.map(lambda mutant: with_copy(noticed, mutant), chosen)
            survivors = 0
            for mutant, killed in zip(chosen, found, strict=True):
                print(f"{'noticed  ' if killed else 'UNNOTICED'} {said(mutant)}", flush=True)
                survivors += not killed
    print(f"{len(chosen) - survivors} of {len(chosen)} faults are noticed")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
