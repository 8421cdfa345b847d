"""Trains a classifier in two phases: the same as `fundus-diag train`, which has the help."""

import sys

from fundus_diag.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], program="train_two_phase.py"))
