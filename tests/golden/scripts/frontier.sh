#!/bin/bash
#SBATCH --job-name=gpu-0
#SBATCH --output=/home/user/run/gpu-0.out
#SBATCH --error=/home/user/run/gpu-0.err
#SBATCH --partition=batch
#SBATCH --account=ABC123
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=56
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=02:00:00
#SBATCH --no-requeue
#SBATCH -S 8

# when the job is ended, the script waits for the agents
trap : TERM
unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU SLURM_TRES_PER_TASK SLURM_GPU_BIND SLURM_THREADS_PER_CORE
srun --nodes=8 --ntasks=8 --ntasks-per-node=1 --export=ALL --cpu-bind=none --mem=0 --overlap --mpi=none --kill-on-bad-exit=0 --wait=0 /env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
