agents=()
for ((rank = 0; rank < 2; rank++)); do
    JOBQUEUE_SITES_RANK=$rank /env/bin/python -m agent 'it'"'"'s' &
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
