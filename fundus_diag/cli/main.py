"""`fundus-diag`: every command reads files, writes files, and can be run again alone.

Exit status: 0 done, 1 a file or photograph is wrong or cannot be written, 2 a flag is wrong; one
line on stderr says which. Heavy modules are imported by the command that needs them, so that --help
is quick.
"""

import os
import sys

from fundus_diag.cli import manifest, segment
from fundus_diag.cli.arguments import sections
from fundus_diag.cli.associate import associate
from fundus_diag.cli.case import case
from fundus_diag.cli.compare import compare
from fundus_diag.cli.completion import SHELLS, script
from fundus_diag.cli.config_file import expanded
from fundus_diag.cli.demo import demo, draw
from fundus_diag.cli.explain import explain, explain_eval
from fundus_diag.cli.export import export
from fundus_diag.cli.helping import overview
from fundus_diag.cli.operate import operate, recalibrate
from fundus_diag.cli.parsing import DISCLAIMER, HELP, chosen, parse
from fundus_diag.cli.port import port
from fundus_diag.cli.predict import predict
from fundus_diag.cli.pretrain import pretrain
from fundus_diag.cli.report import report
from fundus_diag.cli.resume import resumed
from fundus_diag.cli.retrieve import retrieve
from fundus_diag.cli.runs import runs
from fundus_diag.cli.search import search
from fundus_diag.cli.serve import serve
from fundus_diag.cli.train import train
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import reason
from fundus_diag.utils.version import __version__

COMMANDS = {
    "train": train,
    "pretrain": pretrain,
    "predict": predict,
    "report": report,
    "runs": runs,
    "compare": compare,
    "search": search,
    "operate": operate,
    "recalibrate": recalibrate,
    "explain": explain,
    "explain-eval": explain_eval,
    "associate": associate,
    "case": case,
    "retrieve": retrieve,
    "export": export,
    "serve": serve,
    "port": port,
    "demo": demo,
    "draw": draw,
}


GROUPS = {
    "manifest": (manifest.COMMANDS, "Tables of photographs."),
    "segment": (segment.COMMANDS, "Networks that outline lesions, vessels, discs."),
}
# {title: commands} of the help; what is in none of them stands last.
LISTED = {
    "to begin with": ("demo", "draw", "manifest"),
    "training": ("train", "segment", "pretrain", "port", "search", "compare"),
    "how good it is": ("report", "runs", "operate", "recalibrate"),
    "photographs": ("predict", "case", "retrieve", "serve", "export"),
    "where answers come from": ("explain", "explain-eval", "associate"),
}
OWN = (
    ("--version", "Show the version."),
    (
        "--completion SHELL",
        'Print a script that completes commands and flags: eval "$(fundus-diag --completion bash)" '
        "in ~/.bashrc, the same of zsh in ~/.zshrc; of fish by a pipe: .. fish | source",
    ),
)


def main(argv=None, program="fundus-diag"):
    """Runs one command; returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that the terminal or the log cannot show must not end what is done.
            stream.reconfigure(errors="backslashreplace")
    argv = list(sys.argv[1:] if argv is None else argv)
    group, commands = "", COMMANDS
    if argv and argv[0] in GROUPS:
        group, argv = argv[0], argv[1:]
        program = f"{program} {group}"
        commands, _ = GROUPS[group]
    try:
        if not argv or argv[0] in (*HELP, "--version", "--completion"):
            return _told(group, argv, program)
        argv = expanded(argv, group)
        command = chosen(argv[0], commands if group else {**COMMANDS, **GROUPS}, program)
        defaults = resumed(argv, group).get(argv[0])
        called = parse(command, argv[1:], f"{program} {argv[0]}", defaults)
        if called is None:
            return 0
        args, kwargs = called
        return command(*args, **kwargs) or 0
    except DataError as error:
        return _complain(program, error, 1)
    except UsageError as error:
        return _complain(program, error, 2)
    except (OSError, MemoryError) as error:
        return _complain(program, _said(error), 1)
    except Exception as error:
        if not _of_a_file(error):
            raise
        return _complain(program, _said(error), 1)
    except KeyboardInterrupt as stop:
        return _complain(program, str(stop) or "interrupted", 130)


def _told(group, argv, program):
    """Prints what is asked of the program itself, or of a group of its commands; 0."""
    if group:
        print(overview({"commands": _lines(GROUPS[group][0])}, program, GROUPS[group][1]))
    elif argv[:1] == ["--version"]:
        print(f"fundus-diag {__version__}")
    elif argv[:1] == ["--completion"]:
        if len(argv) != 2 or argv[1] not in SHELLS:
            raise UsageError(f"--completion: for one of {', '.join(SHELLS)}")
        groups = {name: commands for name, (commands, _) in GROUPS.items()}
        print(script(argv[1], COMMANDS, groups), end="")
    else:
        lines = _lines(COMMANDS)
        for name, (commands, text) in GROUPS.items():
            lines[name] = f"{text.removesuffix('.')}: {', '.join(commands)}."
        listed = {title: {x: lines.pop(x) for x in names} for title, names in LISTED.items()}
        if lines:
            listed["more"] = lines
        print(overview(listed, program, f"Diagnosis of fundus photographs. {DISCLAIMER}", OWN))
    return 0


def _lines(commands):
    return {name: sections(command)[0][0] for name, command in commands.items()}


def _of_a_file(error):
    """Whether TensorFlow could not read or write a file; its errors are known once it is there."""
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    # Not UnknownError: of a function in Python it is any mistake, and the traceback says which.
    names = ("NotFoundError", "PermissionDeniedError", "UnavailableError", "DataLossError",
             "ResourceExhaustedError")  # fmt: skip
    return errors is not None and isinstance(error, tuple(getattr(errors, x) for x in names))


def _said(error):
    """What the system answered, in a line that names the file where it did."""
    if isinstance(error, MemoryError) or "OOM when" in str(error):  # TensorFlow's, of a GPU
        return (
            "out of memory: a smaller --batch-size or --cache disk need less, where there are any"
        )
    name = getattr(error, "filename", None)
    if name is None:
        return f"a file cannot be read or written: {reason(error)}"
    return f"{os.fsdecode(name)}: cannot be read or written: {reason(error)}"


def _complain(program, error, status):
    line = " ".join(str(error).split())
    line = "".join(c if ord(c) >= 32 and not 127 <= ord(c) < 160 else "?" for c in line)
    print(f"{program}: {line}", file=sys.stderr)
    return status
