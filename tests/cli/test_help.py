"""What the help says of commands and flags, and what a misspelt one is answered with."""

import shlex
import shutil
import subprocess
import warnings

import pytest
import tyro
from tiny import main

from fundus_diag.cli import manifest, segment
from fundus_diag.cli.arguments import arguments, sections
from fundus_diag.cli.completion import SHELLS
from fundus_diag.cli.config_file import expanded
from fundus_diag.cli.groups import GROUPS, recipe_default
from fundus_diag.cli.helping import grouped
from fundus_diag.cli.main import COMMANDS
from fundus_diag.cli.parsing import parse
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.recipes import RECIPES
from fundus_diag.training.segment_config import SegmentConfig

EVERY = {
    **{(name,): command for name, command in COMMANDS.items()},
    **{("manifest", name): command for name, command in manifest.COMMANDS.items()},
    **{("segment", name): command for name, command in segment.COMMANDS.items()},
}
TRAININGS = (("train",), ("pretrain",), ("segment", "train"))


def helped(words, capsys, monkeypatch, columns=80):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_flag_says_what_it_means_and_what_holds_without_it(words, capsys, monkeypatch):
    text = helped(words, capsys, monkeypatch)
    known = arguments(EVERY[words])
    assert max(map(len, text.splitlines())) <= 100  # an example may be longer than the screen
    assert max(map(len, text.partition("\nexample:")[0].splitlines())) <= 80
    for one in known:
        assert len(one.text) > 8, one.name
        assert f"\n  {one.flag}" in text, one.name
        if one.metavar and not one.positional and not one.required and one.default is not None:
            assert recipe_default(one) or one.default == () or "(default: " in text
    flat = " ".join(text.split())
    assert "None" not in flat.replace("None given", "")
    assert "(default: )" not in flat
    for title, those in grouped(known).items():
        assert f"\n{title}:\n  {those[0].flag}" in text


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_flags_are_those_that_the_parser_takes(words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parser = tyro.extras.get_parser(EVERY[words], config=(tyro.conf.FlagCreatePairsOff,))
    taken = {x.option_strings[0]: x for x in parser._actions if x.option_strings}
    del taken["-h"]
    known = {x.flag: x for x in arguments(EVERY[words]) if not x.positional}
    assert set(known) == set(taken)
    for flag, one in known.items():
        assert set(one.choices) == set(taken[flag].choices or ()) - {"None"}, flag
        assert one.required == taken[flag].required, flag
        assert (one.metavar == "") == (taken[flag].nargs == 0), flag


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_examples_are_command_lines(words):
    lines = "\n".join(sections(EVERY[words])[2]).replace("\\\n", " ").splitlines()
    assert lines, "no example"
    for line in lines:
        program, *said = shlex.split(line)
        assert (program, tuple(said[: len(words)])) == ("fundus-diag", words)
        if "--resume" not in said:
            assert parse(EVERY[words], said[len(words) :], " ".join(words))


def test_flags_of_trainings_stand_in_groups_each_once():
    names = [x for those in GROUPS.values() for x in those]
    assert len(names) == len(set(names))
    known = {x.name for words in TRAININGS for x in arguments(EVERY[words])}
    assert known == set(names)


def test_the_default_of_each_recipe_is_what_a_run_starts_with():
    """Against the configuration that a run resolves, for all flags that a recipe sets."""
    known = {x.name: x for x in arguments(COMMANDS["train"])}
    assert recipe_default(known["batch_size"]) == "32; cvt 256; mae, med_former 16"
    assert recipe_default(known["phase1_epochs"]) == "1; se_xception 10; efficientnet_lite 30"
    assert recipe_default(known["seed"]) == ""
    places = {"manifest": "m", "image_root": "r", "run_dir": "d"}
    for recipe in RECIPES:
        config = TrainConfig(**places, recipe=recipe).resolved()
        for name in RECIPES[recipe]:
            text, value = recipe_default(known[name]), getattr(config, name)
            said = f"{value:.3g}" if isinstance(value, float) else str(value)
            own = [part for part in text.split("; ") if recipe in part.replace(",", " ").split()]
            assert (own[0].split()[-1] if own else text.split("; ")[0]) == said, (recipe, name)
    config = SegmentConfig(**places, weights="none").resolved()
    for one in arguments(segment.COMMANDS["train"]):
        if one.name in SegmentConfig.OWN:
            assert float(recipe_default(one)) == getattr(config, one.name)


def test_negated_flags_say_what_they_leave_out(capsys, monkeypatch):
    for words, command in EVERY.items():
        for one in arguments(command):
            if one.negated:
                assert one.flag.startswith("--no-")
                text = " ".join(helped(words, capsys, monkeypatch).split())
                assert f"{one.flag} Leave out: {one.text[:1].lower()}{one.text[1:]}" in text
    assert "--no-augment Leave out: mirror, rotate" in " ".join(
        helped(["train"], capsys, monkeypatch).split()
    )


def test_the_help_of_all_lists_every_command_version_and_completion(capsys, monkeypatch):
    text = helped([], capsys, monkeypatch)
    assert max(map(len, text.splitlines())) <= 80
    for name in (*COMMANDS, "manifest", "segment", "--version", "--completion"):
        assert f"\n  {name}" in text
    for group, commands in (("manifest", manifest.COMMANDS), ("segment", segment.COMMANDS)):
        text = helped([group], capsys, monkeypatch)
        assert all(f"\n  {name}" in text for name in commands)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "trian: no such command, did you mean train?"),
        (["manifset", "check"], "did you mean manifest?"),
        (["--verison"], "--verison: no such option"),
        (["segment", "reprot", "run"], "did you mean report?"),
        (["zzz"], "zzz: no such command; `fundus-diag --help` lists all"),
        (["train", "--encodr", "x"], "--encodr: no such option, did you mean --encoder?"),
        (["train", "--phase1-epoch=3"], "did you mean --phase1-epochs?"),
        (["predict", "run", "x.png", "--bach_size", "3"], "did you mean --batch-size?"),
        (["train", "--augment"], "did you mean --no-augment?"),
        (["report", "run", "--zzzzzz"], "`fundus-diag report --help` lists all"),
        (["train", "--crop", "fundos"], "--crop"),
        (["--completion", "ksh"], "--completion: for one of bash, zsh, fish"),
        (["--completion"], "--completion: for one of"),
    ],
)
def test_what_is_misspelt_is_answered_with_the_nearest(words, expected, capsys):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_a_flag_may_be_written_with_underscores_and_an_equals_sign():
    command = COMMANDS["report"]
    for words in (["run", "--resamples", "5"], ["run", "--resamples=5"]):
        assert parse(command, words, "x")[1]["resamples"] == 5
    assert expanded(["report", "--config", "x"]) == ["report", "--config", "x"]


def completed(shell_words, script):
    """What bash offers for the last of these words."""
    count = len(shell_words) - 1
    quoted = " ".join(map(shlex.quote, shell_words))
    code = f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={count}; _fundus_diag\n"
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_flags_and_choices(capsys):
    assert main(["--completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(["fundus-diag", "tr"], script) == {"train"}
    assert {"manifest", "segment", "report"} <= completed(["fundus-diag", ""], script)
    assert completed(["fundus-diag", "manifest", "sp"], script) == {"split"}
    assert completed(["fundus-diag", "train", "--phase1-e"], script) == {"--phase1-epochs"}
    assert completed(["fundus-diag", "train", "--crop", ""], script) == {"fundus", "none"}
    assert completed(["fundus-diag", "segment", "train", "--net"], script) == {"--network"}
    assert completed(["fundus-diag", "train", "--manifest", "x"], script) == set()  # files, then
    assert completed(["fundus-diag", "report", ""], script) == set()
    assert completed(["fundus-diag", "--completion", ""], script) == set(SHELLS)


def test_every_shell_has_a_script_with_every_command(capsys):
    for shell in SHELLS:
        assert main(["--completion", shell]) == 0
        script = capsys.readouterr().out
        assert all(name in script for name in (*COMMANDS, *manifest.COMMANDS))
        if shutil.which(shell):
            done = subprocess.run([shell, "-n"], input=script, text=True, check=False)
            assert done.returncode == 0
