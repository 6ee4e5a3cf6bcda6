#!/bin/bash
#LOCAL --output=/home/user/run/gpu-0.out
#LOCAL --error=/home/user/run/gpu-0.err
#LOCAL --time=3600
#LOCAL --kill-after=5

# when the job is ended, the script waits for the agents
trap : TERM
agents=()
for ((rank = 0; rank < 3; rank++)); do
    JOBQUEUE_SITES_RANK=$rank /env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0 &
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
