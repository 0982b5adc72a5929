# Bash completion for tess: source this file, or copy it to /etc/bash_completion.d.
_tess() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb='' dir='' i
    local verbs='up down status run ps vnode cp logs top set stats fabric kill pause resume start tour'
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --dir) dir=${COMP_WORDS[i + 1]} ;;
        -*) ;;
        *) [[ -z $verb && ${COMP_WORDS[i - 1]} != --dir ]] && verb=${COMP_WORDS[i]} ;;
        esac
    done
    dir=${dir:-${TESS_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tess/default}}
    local components
    components=$(cd "$dir/log" 2>/dev/null && printf '%s\n' *.log | sed 's/\.log$//')
    case $previous in
    --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    --config) mapfile -t COMPREPLY < <(compgen -f -X '!*.toml' -- "$word"; compgen -d -- "$word"); return ;;
    --accelerator) mapfile -t COMPREPLY < <(compgen -W 'auto kvm tcg' -- "$word"); return ;;
    --vnode) mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" vnode list --dir "$dir" 2>/dev/null | awk 'NR > 1 {print $1}')" -- "$word"); return ;;
    esac
    local choices='--dir --help'
    case $verb in
    '') choices="$verbs --help" ;;
    up) choices+=' --config --accelerator --restart' ;;
    status) choices+=' --json' ;;
    run) choices+=' --vnode --terminal --no-stdin --env --cwd --' ;;
    vnode) choices+=' create list rm' ;;
    logs) choices+=" --follow $components" ;;
    set) choices=$([[ $previous == set ]] && echo "$components" || echo 'excache=') ;;
    stats | kill | pause | resume | start) choices+=" $components" ;;
    fabric) choices="set clear partition heal link pcap show stats $components loss= dup= reorder= corrupt= delay= jitter= rate=" ;;
    top) choices+=' --delay --rounds' ;;
    cp) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
    [[ ${COMPREPLY[0]:-} == *= ]] && compopt -o nospace
}
complete -F _tess tess build/tess ./build/tess
