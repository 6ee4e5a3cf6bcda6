#!/bin/bash
#SBATCH --job-name=gpu-0
#SBATCH --output=/home/user/run/gpu-0.out
#SBATCH --error=/home/user/run/gpu-0.err
#SBATCH --partition=gpu,long
#SBATCH --account='project 7'
#SBATCH --qos=high
#SBATCH --constraint='a100&nvme'
#SBATCH --clusters=east
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --mem=1536M
#SBATCH --gpus-per-node=4
#SBATCH --gres=nvme:1
#SBATCH --time=24:00:30
#SBATCH --no-requeue
#SBATCH --mail-type=END
#SBATCH --reservation=week
# for the workshop

worker_init_done=
trap 'code=$?; [ -n "$worker_init_done" ] || echo "jobqueue-sites: worker_init failed with exit code $code" >&2' EXIT
# worker_init
module load conda
conda activate env
code=$?; [ "$code" -eq 0 ] || exit "$code"
worker_init_done=yes
# when the job is ended, the script waits for the agents
trap : TERM
unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU SLURM_TRES_PER_TASK SLURM_GPU_BIND SLURM_THREADS_PER_CORE
srun --nodes=3 --ntasks=3 --ntasks-per-node=1 --export=ALL --cpu-bind=none --mem=0 --overlap --mpi=none --kill-on-bad-exit=0 --wait=0 --network=single_node_vni /env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
