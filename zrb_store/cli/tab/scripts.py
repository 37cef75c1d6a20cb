"""The scripts that ask for candidates, one for each shell. The other side is in `shells.py`.

They give the line as arguments of the word `__complete`, so that it can never be taken for a command: not even by a
program of the same name that knows nothing of this.
"""

from __future__ import annotations

_BASH = """\
# TAB completion for `@NAME@`: eval "$(@NAME@ completion bash)"
@FUNCTION@() {
    local program=${1/#\\~\\//$HOME/} answer candidate kind=
    COMPREPLY=()
@ZRB@    answer=$("$program" __complete bash @COUNT@ "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" \\
        </dev/null 2>/dev/null)
    [[ $answer ]] || return 0
    while IFS= read -r candidate; do
        if [[ $kind ]]; then COMPREPLY+=("$candidate"); else kind=$candidate; fi
    done <<<"$answer"
    case $kind in
        part) compopt -o nospace ;;
        files) compopt -o default ;;
        commands) while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -c -- "$2") ;;
    esac
}
complete -o nosort -F @FUNCTION@ @COMMAND@ 2>/dev/null || complete -F @FUNCTION@ @COMMAND@
"""

_BASH_ZRB = """\
    if [[ ${COMP_WORDS[1]-} != xcom ]] || ((COMP_CWORD < 2)); then
        if declare -F _@COMMAND@_complete >/dev/null; then _@COMMAND@_complete "$@"; else compopt -o default; fi
        return
    fi
    if [[ $program == */* ]]; then program=${program%/*}/zrb-store; else program=zrb-store; fi
"""

_ZSH = """\
#compdef @COMMAND@
# TAB completion for `@NAME@`, after compinit: source <(@NAME@ completion zsh)
@FUNCTION@() {
    local program=${~${(Q)words[1]}} kind
    local -a answer
@ZRB@    answer=("${(@0)$("$program" __complete zsh @COUNT@ "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" \\
        </dev/null 2>/dev/null)}")
    kind=$answer[1]
    answer=("${(@)answer[2,-2]}")
    case $kind in
        words) compadd -V names -a answer ;;
        part) compadd -V names -S '' -a answer ;;
        described) _describe -V '@NAME@' answer ;;
        files) compset -P '--*='; _files ;;
        commands) _command_names -e ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    @FUNCTION@ "$@"
else
    compdef @FUNCTION@ @COMMAND@
fi
"""

_ZSH_ZRB = """\
    if [[ $words[2] != xcom ]] || ((CURRENT < 3)); then
        if (($+functions[_@COMMAND@_complete])); then _@COMMAND@_complete "$@"; else _default; fi
        return
    fi
    if [[ $program == */* ]]; then program=${program:h}/zrb-store; else program=zrb-store; fi
"""

_FISH = """\
# TAB completion for `@NAME@`: @NAME@ completion fish | source
function @FUNCTION@
    set -l words (commandline -xpc 2>/dev/null; or commandline -opc)
    set -l typed (commandline -ct)
    set -l program $words[1]
@ZRB@    set -l answer ($program __complete fish @COUNT@ $words "$typed" </dev/null 2>/dev/null)
    set -l kind $answer[1]
    set -e answer[1]
    switch "$kind"
        case words part
            if set -q answer[1]
                printf '%s\\n' $answer
            end
        case files
            for file in (__fish_complete_path (string replace -- "$answer[1]" '' "$typed"))
                echo "$answer[1]$file"
            end
        case commands
            complete -C "$typed"
    end
end
complete --command @COMMAND@ --erase
complete --command @COMMAND@ --no-files --keep-order --arguments '(@FUNCTION@)'
"""

_FISH_ZRB = """\
    if test "$words[2]" != xcom
        if functions -q __@COMMAND@_complete
            __@COMMAND@_complete
        else
            __fish_complete_path "$typed"
        end
        return
    end
    if string match -q '*/*' $program
        set program (string replace -r '[^/]*$' zrb-store $program)
    else
        set program zrb-store
    end
"""

_SCRIPTS = {"bash": (_BASH, _BASH_ZRB), "zsh": (_ZSH, _ZSH_ZRB), "fish": (_FISH, _FISH_ZRB)}
SHELLS = tuple(_SCRIPTS)


def script(shell: str, program: str) -> str:
    """Return the script for a shell.

    Args:
        shell: One of `SHELLS`.
        program: What the user types before a command: `zrb-store` or `zrb xcom`.
    """
    words = program.split()
    text, part_for_zrb = _SCRIPTS[shell]
    text = text.replace("@ZRB@", part_for_zrb if len(words) > 1 else "")
    names = {"NAME": program, "FUNCTION": f"_{'_'.join(words)}_completion".replace("-", "_")}
    for name, value in {**names, "COMMAND": words[0], "COUNT": str(len(words))}.items():
        text = text.replace(f"@{name}@", value)
    return text
