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
    ssh -o BatchMode=yes -o StrictHostKeyChecking=no "$2" "env JOBQUEUE_SITES_RANK=$1 bash -s" <&"$pipe"
    code=$?
    kill "$keeper"
    return "$code"
}
agents=()
for node in $(cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }'); do
    start_agent "${#agents[@]}" "$node" &
    agents+=($!)
done
exit_code=0
for agent in "${agents[@]}"; do
    while :; do
        wait "$agent" && agent_code=0 || agent_code=$?
        ((agent_code > 128)) && kill -0 "$agent" 2>/dev/null || break
    done
    ((agent_code == 0)) || exit_code=$agent_code
done
(exit "$exit_code")
