#!/bin/bash
#SBATCH --job-name=gpu-0
#SBATCH --output=/home/user/run/gpu-0.out
#SBATCH --error=/home/user/run/gpu-0.err
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=00:10:00
#SBATCH --no-requeue

# when the job is ended, the script waits for the agents
trap : TERM
/env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
