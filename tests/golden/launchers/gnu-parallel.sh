on_node=$(cat <<'ON_NODE'
{
exec 3<&0 </dev/null
worker_init_done=
trap 'code=$?; [ -n "$worker_init_done" ] || echo "jobqueue-sites: worker_init failed with exit code $code" >&2' EXIT
# worker_init
module load conda
conda activate 'my env'
code=$?; [ "$code" -eq 0 ] || exit "$code"
worker_init_done=yes
/env/bin/python -m agent 'it'"'"'s' 3<&- &
agent=$!
{ cat <&3 >/dev/null; kill -TERM "$agent"; } 2>/dev/null &
wait "$agent"
code=$?
kill "$!" 2>/dev/null
exit "$code"
}
ON_NODE
)
start_agent() {
    local pipe keeper code
    exec {pipe}< <(
        printf 'cd %q || exit\n%s\n' "$PWD" "$on_node"
        exec sleep infinity
    )
    keeper=$!
    ssh -o BatchMode=yes "$2" "env JOBQUEUE_SITES_RANK=$1 bash -s" <&"$pipe"
    code=$?
    kill "$keeper"
    return "$code"
}
export on_node
export -f start_agent
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' | PARALLEL_SHELL=$BASH parallel --will-cite --jobs 0 --delay 0.1 --line-buffer --joblog agents.log start_agent '{= $_ = seq() - 1 =}' '{}'
