#!/bin/bash
#PBS -S /bin/bash
#PBS -N gpu-0
#PBS -o /home/user/run/gpu-0.out
#PBS -e /home/user/run/gpu-0.err
#PBS -r n
#PBS -m n
#PBS -A project
#PBS -q batch
#PBS -l nodes=2:ppn=16
#PBS -l mem=16gb
#PBS -l walltime=12:00:00

cd -- "$PBS_O_WORKDIR" || exit
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
export on_node
export -f start_agent
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' | PARALLEL_SHELL=$BASH parallel --will-cite --jobs 0 --delay 0.1 --line-buffer start_agent '{= $_ = seq() - 1 =}' '{}'
