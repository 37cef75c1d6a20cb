# TAB completion for `@NAME@`: @NAME@ completion fish | source
function @FUNCTION@
    set -l words (commandline -xpc 2>/dev/null; or commandline -opc)
    set -l typed (commandline -ct)
    set -l program $words[1]
    if test @COUNT@ = 2
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
    end
    set -l answer ($program __complete fish @COUNT@ $words "$typed" </dev/null 2>/dev/null)
    switch "$answer[1]"
        case words part
            string collect -- $answer[2..]
        case files
            set -l option (string match -r -- '^--.*?=' "$typed")
            printf "$option%s\n" (__fish_complete_path (string replace -- "$option" '' "$typed"))
        case commands
            complete -C "$typed"
    end
end
complete --command @COMMAND@ --erase
complete --command @COMMAND@ --no-files --keep-order --arguments '(@FUNCTION@)'
