#!/bin/bash
#BSUB -J gpu-0
#BSUB -o /home/user/run/gpu-0.out
#BSUB -e /home/user/run/gpu-0.err
#BSUB -n 32
#BSUB -R 'span[ptile=16]'
#BSUB -M 32GB
#BSUB -W 00:10
#BSUB -rn

# when the job is ended, the script waits for the agents
trap : TERM
on_node=$(cat <<'ON_NODE'
{
exec 3<&0 </dev/null
/env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0 3<&- &
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
agents=()
for node in $(cat "$LSB_DJOB_HOSTFILE" | awk '!seen[$1]++ { print $1 }'); do
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
