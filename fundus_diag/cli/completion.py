"""`fundus-diag --completion SHELL`: a script by which a shell completes commands and flags."""

from fundus_diag.cli.arguments import arguments

SHELLS = ("bash", "zsh", "fish")
# The word before the cursor may be a flag of choices; else flags are offered after a dash, and
# files otherwise.
_BASH = """\
_fundus_diag() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local called=${{COMP_WORDS[1]}} words=
    case $called in {groups}) [ "$COMP_CWORD" -gt 2 ] && called="$called ${{COMP_WORDS[2]}}" ;; esac
    if [ "$COMP_CWORD" -eq 1 ]; then words="{top}"
    else
        case "$called $before" in
{choices}
        esac
        [ -n "$words" ] || case $called in
{flags}
        esac
        [ "${{cur#-}}" != "$cur" ] || [ "${{words#-}}" = "$words" ] || words=
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _fundus_diag fundus-diag
"""


def script(shell, commands, groups):
    """The script of a shell, one of `SHELLS`.

    Args:
        shell: bash, zsh or fish.
        commands: {name: function} at the top.
        groups: {name: {name: function}} of those that stand behind another word.
    """
    every = {(name,): command for name, command in commands.items()}
    for group, those in groups.items():
        every |= {(group, name): command for name, command in those.items()}
    known = {words: [x for x in arguments(command) if not x.positional]
             for words, command in every.items()}  # fmt: skip
    if shell == "fish":
        return _fish(known, groups)
    flags = [_case(group, " ".join(those)) for group, those in groups.items()]
    choices = []
    for words, those in known.items():
        flags.append(_case(" ".join(words), " ".join([*(x.flag for x in those), "--help"])))
        choices += [_case(" ".join([*words, x.flag]), " ".join(x.choices))
                    for x in those if x.choices]  # fmt: skip
    text = _BASH.format(
        groups="|".join(groups),
        top=" ".join([*commands, *groups, "--help", "--version", "--completion"]),
        choices="\n".join([*choices, _case("--completion --completion", " ".join(SHELLS))]),
        flags="\n".join(flags),
    )
    return ("autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "") + text


def _case(pattern, words):
    return f'        "{pattern}") words="{words}" ;;'


def _fish(known, groups):
    lines, top = [], "__fish_use_subcommand"
    for words, those in known.items():
        first, *rest = words
        seen = f"__fish_seen_subcommand_from {words[-1]}"
        where = f"__fish_seen_subcommand_from {first}; and {seen}" if rest else seen
        if not rest:
            lines.append(_fish_line(top, f"-a {first}"))
        else:
            lines.append(_fish_line(f"__fish_seen_subcommand_from {first}", f"-a {rest[0]}"))
        for one in those:
            takes = " -r" if one.metavar else ""
            takes += f" -f -a '{' '.join(one.choices)}'" if one.choices else ""
            lines.append(_fish_line(where, f"-l {one.flag.removeprefix('--')}{takes}"))
    lines += [_fish_line(top, f"-a {name}") for name in groups]
    return "\n".join(lines) + "\n"


def _fish_line(where, what):
    return f"complete -c fundus-diag -n '{where}' {what}"
