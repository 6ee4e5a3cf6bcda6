#!/bin/bash
#BSUB -J gpu-0
#BSUB -o /home/user/run/gpu-0.out
#BSUB -e /home/user/run/gpu-0.err
#BSUB -q batch
#BSUB -P ABC123
#BSUB -nnodes 2
#BSUB -W 01:01
#BSUB -rn
#BSUB -alloc_flags "gpumps smt4"

# when the job is ended, the script waits for the agents
trap : TERM
jsrun --nrs 2 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs ALL_CPUS --gpu_per_rs ALL_GPUS --bind none /env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
