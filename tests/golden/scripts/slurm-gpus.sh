#!/bin/bash
#SBATCH --job-name=gpu-0
#SBATCH --output=/home/user/run/gpu-0.out
#SBATCH --error=/home/user/run/gpu-0.err
#SBATCH --partition=main
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --gpus-per-node=2
#SBATCH --exclusive
#SBATCH --time=00:10:00
#SBATCH --no-requeue

# when the job is ended, the script waits for the agents
trap : TERM
unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU SLURM_TRES_PER_TASK SLURM_GPU_BIND SLURM_THREADS_PER_CORE
srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --export=ALL --cpu-bind=none --mem=0 --overlap --mpi=none --kill-on-bad-exit=0 --wait=0 /env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
