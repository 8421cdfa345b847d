"""Stands in for `fundus-diag` where trainings are only to be begun, watched and scored.

Writes what a training and a report leave behind, in a moment. The label smoothing says what
happens: .9 ends it with a line, .5 kills it after its first epoch, once. Its score on val is one
less the dropout, a little less in the first epochs.
"""

import json
import os
import sys
import time
from pathlib import Path


def value(words, flag):
    return words[words.index(flag) + 1] if flag in words else None


def train(words):
    run = Path(value(words, "--run-dir"))
    run.mkdir(parents=True, exist_ok=True)
    with open(run.parents[1] / "calls.txt", "a") as file:
        file.write(f"{words[0]} {run.name} {value(words, '--label-smoothing')}\n")
    if value(words, "--label-smoothing") == "0.9":
        print("reading photographs: 7 in 1 s\nfundus-diag: x.png: it is broken", file=sys.stderr)
        return 1
    epochs = int(value(words, "--epochs") or value(words, "--phase2-epochs"))
    begun = run / "history.csv"
    done = begun.read_text().count("\n") - 1 if begun.exists() else 0
    score = 1 - float(value(words, "--dropout") or 0)
    split = {"rows": 1, "patients": 1, "positives": {}, "negatives": {}, "ungraded": {}}
    config = {
        "encoder": "efficientnet_lite0", "image_size": 32, "unit": "eye", "task": "multi_label",
        "labels": ["A"], "pretrained": False, "weights": "none", "versions": {}, "flags": {},
        "parameters": int(value(words, "--image-size") or 0), "finished": None,
        "best_epoch": epochs,
        "data": {"image_root": str(run), "splits": {"train": split}},
    }  # fmt: skip
    (run / "config.json").write_text(json.dumps(config))
    for epoch in range(done + 1, epochs + 1):
        rows = "".join(f"{e},2,{score - 0.01 * (epochs - e)}\n" for e in range(1, epoch + 1))
        part = run / "history.csv.part"
        part.write_text(f"epoch,phase,val_macro_roc_auc\n{rows}")
        part.replace(begun)
        if value(words, "--label-smoothing") == "0.5" and done == 0:
            os.kill(os.getpid(), 9)
        time.sleep(float(os.environ.get("TRAINER_EPOCH", 0.02)))
    (run / "config.json").write_text(json.dumps(config | {"finished": "now"}))
    return 0


def main(words):
    if words[0] in ("train", "pretrain"):
        return train(words)
    run = Path(words[1])
    (run / f"predictions_{value(words, '--split')}.csv").write_text("image\n")
    with open(run.parents[1] / "calls.txt", "a") as file:
        file.write(f"report {run.name} -\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
