#!/bin/bash
#LOCAL --output=/home/user/run/gpu-0.out
#LOCAL --error=/home/user/run/gpu-0.err
#LOCAL --time=600
#LOCAL --kill-after=10.0

worker_init_done=
trap 'code=$?; [ -n "$worker_init_done" ] || echo "jobqueue-sites: worker_init failed with exit code $code" >&2' EXIT
# worker_init
source env/bin/activate
code=$?; [ "$code" -eq 0 ] || exit "$code"
worker_init_done=yes
# when the job is ended, the script waits for the agents
trap : TERM
/env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
