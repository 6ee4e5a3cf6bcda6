#!/bin/bash
#PBS -S /bin/bash
#PBS -N gpu-0
#PBS -o /home/user/run/gpu-0.out
#PBS -e /home/user/run/gpu-0.err
#PBS -k doe
#PBS -r n
#PBS -m n
#PBS -A project
#PBS -q prod
#PBS -l select=128:ncpus=64:ngpus=4
#PBS -l place=scatter
#PBS -l walltime=01:00:00
#PBS -l filesystems=home:eagle

cd -- "$PBS_O_WORKDIR" || exit
worker_init_done=
trap 'code=$?; [ -n "$worker_init_done" ] || echo "jobqueue-sites: worker_init failed with exit code $code" >&2' EXIT
# worker_init
module load conda; conda activate env
code=$?; [ "$code" -eq 0 ] || exit "$code"
worker_init_done=yes
# when the job is ended, the script waits for the agents
trap : TERM
hostfile=$(mktemp)
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' >"$hostfile"
mpiexec --cpu-bind none --depth=64 --ppn 1 --no-abort-on-failure -n 128 --hostfile "$hostfile" /env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
exit_code=$?; rm -f -- "$hostfile"; (exit "$exit_code")
