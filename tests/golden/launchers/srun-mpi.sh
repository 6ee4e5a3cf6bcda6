unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU SLURM_TRES_PER_TASK SLURM_GPU_BIND SLURM_THREADS_PER_CORE
agents=()
for ((rank = 0; rank < 2; rank++)); do
    JOBQUEUE_SITES_RANK=$rank srun --relative=$rank --nodes=1 --ntasks=1 --export=ALL --cpu-bind=none --mem=0 --overlap --mpi=none --kill-on-bad-exit=0 --wait=0 /env/bin/python -m agent 'it'"'"'s' &
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
