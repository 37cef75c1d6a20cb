# TAB completion for `@NAME@`: eval "$(@NAME@ completion bash)"
@FUNCTION@() {
    local program=${1/#\~\//$HOME/}
    if ((@COUNT@ == 2)); then
        if [[ ${COMP_WORDS[1]-} != xcom ]] || ((COMP_CWORD < 2)); then
            if declare -F _@COMMAND@_complete >/dev/null; then _@COMMAND@_complete "$@"; else compopt -o default; fi
            return
        fi
        if [[ $program == */* ]]; then program=${program%/*}/zrb-store; else program=zrb-store; fi
    fi
    mapfile -t COMPREPLY < <("$program" __complete bash @COUNT@ "${COMP_LINE:0:COMP_POINT}" "$2" \
        </dev/null 2>/dev/null)
    case ${COMPREPLY-} in
        part) compopt -o nospace ;;
        files) compopt -o default ;;
        commands) mapfile -t -O 1 COMPREPLY < <(compgen -c -- "$2") ;;
    esac
    COMPREPLY=("${COMPREPLY[@]:1}")
}
complete -o nosort -F @FUNCTION@ @COMMAND@ 2>/dev/null || complete -F @FUNCTION@ @COMMAND@
