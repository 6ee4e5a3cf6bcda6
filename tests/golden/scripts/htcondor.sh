#!/bin/bash
#CONDOR batch_name = gpu-0
#CONDOR output = /home/user/run/gpu-0.out
#CONDOR error = /home/user/run/gpu-0.err
#CONDOR stream_output = True
#CONDOR stream_error = True
#CONDOR request_cpus = 4
#CONDOR request_memory = 8192
#CONDOR request_gpus = 1
#CONDOR requirements = OpSysAndVer == "Debian12"
#CONDOR accounting_group = group.project
#CONDOR periodic_remove = JobStatus == 2 && time() - EnteredCurrentStatus > 600
#CONDOR +WantGPULab = true
#CONDOR nice_user = false

# when the job is ended, the script waits for the agents
trap : TERM
/env/bin/python -m jobqueue_sites.agent tls://10.0.0.1:8786 --name gpu-0
