#!/bin/bash
#PBS -S /bin/bash
#PBS -N gpu-0
#PBS -o /home/user/run/gpu-0.out
#PBS -e /home/user/run/gpu-0.err
#PBS -k doe
#PBS -r n
#PBS -m n
#PBS -l select=1
#PBS -l place=scatter
#PBS -l walltime=00:10:00

cd -- "$PBS_O_WORKDIR" || exit
# when the job is ended, the script waits for the agents
trap : TERM
/env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
