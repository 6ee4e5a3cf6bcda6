unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU SLURM_TRES_PER_TASK SLURM_GPU_BIND SLURM_THREADS_PER_CORE
srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --export=ALL --cpu-bind=none --mem=0 --overlap --mpi=none --kill-on-bad-exit=0 --wait=0 --label /env/bin/python -m agent 'it'"'"'s'
