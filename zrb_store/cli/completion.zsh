#compdef @COMMAND@
# TAB completion for `@NAME@`, after compinit: source <(@NAME@ completion zsh)
@FUNCTION@() {
    local program=${~${(Q)words[1]}} kind
    local -a answer
    if ((@COUNT@ == 2)); then
        if [[ $words[2] != xcom ]] || ((CURRENT < 3)); then
            if (($+functions[_@COMMAND@_complete])); then _@COMMAND@_complete "$@"; else _default; fi
            return
        fi
        if [[ $program == */* ]]; then program=${program:h}/zrb-store; else program=zrb-store; fi
    fi
    answer=("${(@0)$("$program" __complete zsh @COUNT@ "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" \
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
