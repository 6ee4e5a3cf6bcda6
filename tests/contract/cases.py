"""What each provider is to make of its batch system's answers.

Those of Slurm, of Slurm's Torque commands and of Grid Engine were recorded; those of OpenPBS follow what
one was seen to answer; the others follow the documented formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobqueue_sites import (
    GridEngineProvider,
    HTCondorProvider,
    LocalProvider,
    LSFProvider,
    OARProvider,
    PBSProvider,
    Provider,
    SlurmProvider,
    TorqueProvider,
)
from jobqueue_sites.providers import JobState, JobStatus

FILES = Path(__file__).parent / "answers"


@dataclass(frozen=True, kw_only=True)
class Says:
    """What a command says."""

    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class Case:
    provider: Provider
    submits: Mapping[str, Says]
    """Answers that have a job's id."""
    refuses: Mapping[str, Says]
    """Answers that refuse a job, by words of the error that they become."""
    does_not_answer: Says
    """The batch system cannot be reached: its command fails."""
    lists: Says
    listed: Mapping[str, JobStatus]
    lists_none: Says
    """None of the jobs that it is asked for is known."""
    unreadable: Says
    finds: tuple[tuple[str, int, Says, JobStatus | None], ...] = ()
    """Answers of `find`: the job, the number of the command, what it says, what became of the job."""
    cancels: tuple[Says, ...] = (Says(),)
    """Answers for jobs that end, and for those that have ended."""


def status(state: JobState, *nodes: str, reason: str = "", exit_code: int | None = None,
           is_hopeless: bool = False) -> JobStatus:  # fmt: skip
    return JobStatus(
        state=state, reason=reason, exit_code=exit_code, nodes=nodes, is_hopeless=is_hopeless
    )


def read(name: str) -> str:
    return (FILES / name).read_text()


_SLURM_JOB = (
    "JobId={job} JobName=rec UserId=root(0) JobState={state} Reason={reason} Dependency=(null) "
    "Requeue=1 BatchFlag=1 ExitCode={code} Partition=main ReqNodeList=(null) ExcNodeList=(null) "
    "NodeList={nodes} BatchHost=node1 NumNodes=2 Command=/home/JobState=PENDING.sh Power= \n"
)

SLURM = Case(
    provider=SlurmProvider(partition="gpuu", account="nosuch"),
    submits={
        "123": Says(stdout="123\n"),
        "124;east": Says(stdout="124;east\n"),
        "125": Says(stdout="Welcome to the machine\n125\n", stderr="sbatch: lua: all is well\n"),
    },
    refuses={
        "sbatch refused: Invalid partition name specified: 'gpuu'": Says(
            stderr="sbatch: error: invalid partition specified: gpuu\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            exit_code=1,
        ),
        "sbatch refused: Invalid account or account/partition combination specified": Says(
            stderr="sbatch: error: Batch job submission failed: "
            "Invalid account or account/partition combination specified\n",
            exit_code=1,
        ),
        "sbatch refused: Memory specification can not be satisfied": Says(
            stderr="sbatch: error: Memory specification can not be satisfied\n", exit_code=1
        ),
    },
    does_not_answer=Says(
        stderr="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
        exit_code=1,
    ),
    lists=Says(
        stdout="70|COMPLETED|None|0|node[1-2]|vc|\n"
        "71|COMPLETING|None|0|node[1-2]|vc|\n"
        "69|FAILED|NonZeroExitCode|768|node1|vc|\n"
        "74|FAILED|JobLaunchFailure|9|node1|vc|\n"
        "72|PENDING|PartitionNodeLimit|0||vc|\n"
        "75|PENDING|(Nodes required for job are DOWN, DRAINED or reserved)|0||vc|\n"
        "73|PENDING|JobHeldUser|0||vc|\n"
        "76|CANCELLED|None|15|node[1-2]|vc|\n"
        "77|RUNNING|None|0|node[1-2,07],gpu3|vc|\n"
        "78|HIBERNATING|None|0|node1|vc|\n"
    ),
    listed={
        "70": status(JobState.COMPLETED, "node1", "node2", exit_code=0),
        "71": status(JobState.ENDING, "node1", "node2"),
        "69": status(JobState.FAILED, "node1", reason="NonZeroExitCode", exit_code=3),
        "74": status(JobState.FAILED, "node1", reason="JobLaunchFailure", exit_code=-9),
        "72": status(JobState.PENDING, reason="PartitionNodeLimit", is_hopeless=True),
        "75": status(
            JobState.PENDING, reason="(Nodes required for job are DOWN, DRAINED or reserved)"
        ),
        "73": status(JobState.HELD, reason="JobHeldUser"),
        "76": status(JobState.CANCELLED, "node1", "node2", exit_code=-15),
        "77": status(JobState.RUNNING, "node1", "node2", "node07", "gpu3"),
        "78": status(JobState.RUNNING, "node1", reason="Slurm says HIBERNATING"),
    },
    lists_none=Says(stderr="slurm_load_jobs error: Invalid job id specified\n", exit_code=1),
    unreadable=Says(stdout="JOBID PARTITION NAME\n"),
    finds=(
        ("71", 0, Says(stdout=_SLURM_JOB.format(job=71, state="CANCELLED", reason="None",
                                                     code="0:15", nodes="node[1-2]")),
         status(JobState.CANCELLED, "node1", "node2", exit_code=-15)),
        ("69", 0, Says(stdout=_SLURM_JOB.format(job=69, state="FAILED", reason="NonZeroExitCode",
                                                     code="3:0", nodes="node1")),
         status(JobState.FAILED, "node1", reason="NonZeroExitCode", exit_code=3)),
        ("72", 0, Says(stdout=_SLURM_JOB.format(job=72, state="PENDING", reason="Resources",
                                                     code="0:0", nodes="")),
         status(JobState.PENDING, reason="Resources")),
        ("99", 0, Says(stderr="slurm_load_jobs error: Invalid job id specified\n", exit_code=1), None),
        ("71", 1, Says(stdout="CANCELLED by 1000|0:15|node[1-2]\n"),
         status(JobState.CANCELLED, "node1", "node2", reason="CANCELLED by 1000", exit_code=-15)),
        ("71", 1, Says(stdout="NODE_FAIL|0:0|node1\nTIMEOUT|0:0|None assigned\n"),
         status(JobState.TIMEOUT, exit_code=0)),
        ("71", 1, Says(), None),
        ("71", 1, Says(stderr="Slurm accounting storage is disabled\n", exit_code=1), None),
    ),
    cancels=(
        Says(),
        Says(
            stderr="scancel: error: Kill job error on job id 69: "
            "Job/step already completing or completed\n",
            exit_code=1,
        ),
    ),
)  # fmt: skip

PBS = Case(
    provider=PBSProvider(queue="nosuch", account="project"),
    submits={"123.server": Says(stdout="123.server\n"), "124": Says(stdout="124\n")},
    refuses={
        "qsub refused: Unknown queue: 'nosuch'": Says(
            stderr="qsub: Unknown queue\n", exit_code=170
        ),
        "qsub refused: Unknown resource: foo": Says(
            stderr="qsub: Unknown resource: foo\n", exit_code=187
        ),
        "qsub refused: would exceed complex's per-user limit": Says(
            stderr="qsub: would exceed complex's per-user limit of jobs in 'Q' state\n",
            exit_code=188,
        ),
    },
    does_not_answer=Says(
        stderr="Connection refused\nqsub: cannot connect to server server (errno=15010)\n",
        exit_code=15010 % 256,
    ),
    lists=Says(stdout=read("pbs-qstat.json")),
    listed={
        "101.server": status(JobState.RUNNING, "node1", "node2"),
        "102.server": status(
            JobState.PENDING,
            reason="Not Running: Insufficient amount of resource: ngpus (R: 9 A: 4 T: 12)",
        ),
        "103.server": status(
            JobState.PENDING,
            reason="Can Never Run: Insufficient amount of resource: ncpus (R: 99 A: 24 T: 24)",
            is_hopeless=True,
        ),
        "104.server": status(JobState.HELD, reason="Job held by user"),
        "105.server": status(JobState.ENDING, "node3"),
        "106.server": status(JobState.COMPLETED, "node3", exit_code=0),
        "107.server": status(JobState.FAILED, "node3", exit_code=2),
        "108.server": status(
            JobState.TIMEOUT,
            "node3",
            exit_code=-29,
            reason="Job run at Tue Nov 24 at 22:12 on (node3:ncpus=1) and exceeded resource walltime",
        ),
        "109.server": status(JobState.CANCELLED, "node3", exit_code=-15),
        "110.server": status(JobState.CANCELLED),
        "111.server": status(JobState.OUT_OF_MEMORY, "node3", exit_code=-27),
        "112.server": status(JobState.FAILED, "node3", exit_code=-9),
        "113.server": status(JobState.RUNNING, "node3", reason="suspended"),
    },
    lists_none=Says(
        stdout='{"timestamp":1, "pbs_version":"23.06.06", "pbs_server":"server"}\n',
        stderr="qstat: Unknown Job Id 123.server\n",
        exit_code=153,
    ),
    unreadable=Says(stdout="Job id            Name\n"),
    finds=(
        ("107.server", 0, Says(stdout=read("pbs-qstat.json"), exit_code=153,
                               stderr="qstat: Unknown Job Id 99.server\n"),
         status(JobState.FAILED, "node3", exit_code=2)),
        ("99.server", 0, Says(stderr="qstat: Unknown Job Id 99.server\n", exit_code=153), None),
    ),
    cancels=(
        Says(),
        Says(stderr="qdel: Unknown Job Id 99.server\nqdel: Job has finished 107.server\n", exit_code=35),
    ),
)  # fmt: skip

TORQUE = Case(
    provider=TorqueProvider(queue="nosuch"),
    submits={"123.server": Says(stdout="123.server\n"), "4": Says(stdout="4\n")},
    refuses={
        "qsub refused: Batch job submission failed: Invalid partition name specified: 'nosuch'": Says(
            stdout="There was an error running the Slurm sbatch command.\nThe command was:\n"
            "'/usr/bin/sbatch -p nosuch tq.sh 2>&1'\nand the output was:\n"
            "'sbatch: error: invalid partition specified: nosuch\n"
            " sbatch: error: Batch job submission failed: Invalid partition name specified\n'\n",
            exit_code=1,
        ),
        "qsub refused: submit error (Unknown queue MSG=cannot locate queue): 'nosuch'": Says(
            stderr="qsub: submit error (Unknown queue MSG=cannot locate queue)\n", exit_code=170
        ),
    },
    does_not_answer=Says(
        stderr="Cannot connect to default server host 'server' - check pbs_server daemon.\n"
        "qsub: cannot connect to server server (errno=111) Connection refused\n",
        exit_code=111,
    ),
    lists=Says(stdout=read("torque-qstat.txt") + "\n" + read("torque-of-slurm-qstat.txt")),
    listed={
        "21.server": status(JobState.RUNNING, "node1", "node2"),
        "22.server": status(
            JobState.PENDING,
            reason="Not Running: not enough of the right type of nodes are available, and no more "
            "are to come",
        ),
        "23.server": status(JobState.COMPLETED, "node1", exit_code=0),
        "24.server": status(JobState.FAILED, "node1", exit_code=2),
        "25.server": status(JobState.TIMEOUT, "node1", exit_code=-11),
        "26.server": status(JobState.CANCELLED, "node1", exit_code=-15),
        "27.server": status(JobState.FAILED, "node1", exit_code=-9),
        "28.server": status(JobState.HELD),
        "1": status(JobState.RUNNING, "node1", "node2"),
        "2": status(JobState.COMPLETED, "node1", "node2"),
    },
    lists_none=Says(exit_code=153),
    unreadable=Says(stdout="Job Id: 1.server\n    Job_Name = b-0\n"),
    finds=(
        ("24.server", 0, Says(stdout=read("torque-qstat.txt")),
         status(JobState.FAILED, "node1", exit_code=2)),
        ("99.server", 0, Says(stderr="qstat: Unknown Job Id Error 99.server\n", exit_code=153), None),
    ),
    cancels=(
        Says(),
        Says(exit_code=2),  # so do the commands of Slurm say that two have ended
        Says(stderr="qdel: Unknown Job Id Error 99.server\n", exit_code=153),
    ),
)  # fmt: skip

LSF = Case(
    provider=LSFProvider(queue="nosuch"),
    submits={"123": Says(stdout="Job <123> is submitted to queue <normal>.\n")},
    refuses={
        "bsub refused: nosuch: No such queue": Says(
            stderr="nosuch: No such queue. Job not submitted.\n", exit_code=255
        ),
        "bsub refused: User cannot use the queue": Says(
            stderr="User cannot use the queue. Job not submitted.\n", exit_code=255
        ),
    },
    does_not_answer=Says(stderr="LSF is down. Please wait ...\nls_initdebug: LIM is down\n", exit_code=255),
    lists=Says(
        stdout="11|RUN|-|16*node1:16*node2|-|-\n"
        "12|PEND|-|-|-|New job is waiting for scheduling;\n"
        "13|PSUSP|-|-|-|The job was suspended by the user while pending;\n"
        "14|DONE|-|node1|-|-\n"
        "15|EXIT|3|node1|-|-\n"
        "16|EXIT|140|node1|TERM_RUNLIMIT: job killed after reaching LSF run time limit|-\n"
        "17|EXIT|130|node1|TERM_OWNER: job killed by owner|-\n"
        "18|EXIT|137|node1|TERM_MEMLIMIT: job killed after reaching LSF memory usage limit|-\n"
        "19|UNKWN|-|node1|-|-\n"
        "20|SSUSP|-|node1|-|-\n",
        stderr="Job <99> is not found\n",
        exit_code=255,
    ),
    listed={
        "11": status(JobState.RUNNING, "node1", "node2"),
        "12": status(JobState.PENDING, reason="New job is waiting for scheduling;"),
        "13": status(JobState.HELD, reason="The job was suspended by the user while pending;"),
        "14": status(JobState.COMPLETED, "node1", exit_code=0),
        "15": status(JobState.FAILED, "node1", exit_code=3),
        "16": status(
            JobState.TIMEOUT,
            "node1",
            exit_code=-12,
            reason="TERM_RUNLIMIT: job killed after reaching LSF run time limit",
        ),
        "17": status(
            JobState.CANCELLED, "node1", exit_code=-2, reason="TERM_OWNER: job killed by owner"
        ),
        "18": status(
            JobState.OUT_OF_MEMORY,
            "node1",
            exit_code=-9,
            reason="TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
        ),
        "19": status(JobState.RUNNING, "node1", reason="its node does not answer"),
        "20": status(JobState.RUNNING, "node1", reason="suspended"),
    },
    lists_none=Says(stderr="Job <99> is not found\n", exit_code=255),
    unreadable=Says(stdout="JOBID USER STAT\n"),
    finds=(
        ("15", 0, Says(stdout="15|EXIT|3|node1|-|-\n"), status(JobState.FAILED, "node1", exit_code=3)),
        ("99", 0, Says(stderr="Job <99> is not found\n", exit_code=255), None),
    ),
    cancels=(
        Says(stdout="Job <11> is being terminated\n"),
        Says(stderr="Job <15>: Job has already finished\n", exit_code=255),
    ),
)  # fmt: skip

GRIDENGINE = Case(
    provider=GridEngineProvider(queue="nosuch"),
    submits={"12": Says(stdout="12\n")},
    refuses={
        'qsub refused: Job was rejected because job requests unknown queue "nosuch"': Says(
            stderr='Unable to run job: Job was rejected because job requests unknown queue "nosuch"\n'
            "Exiting.\n",
            exit_code=1,
        ),
        'qsub refused: unknown resource "foo"': Says(
            stderr='Unable to run job: unknown resource "foo"\nExiting.\n', exit_code=1
        ),
    },
    does_not_answer=Says(
        stderr='error: unable to send message to qmaster using port 6444 on host "gemaster": got send '
        "error\n",
        exit_code=1,
    ),
    lists=Says(stdout=read("gridengine-qstat.xml")),
    listed={
        "13": status(JobState.RUNNING, "gemaster"),
        "15": status(JobState.RUNNING, "gemaster"),
        "16": status(JobState.RUNNING, "gemaster", reason="suspended"),
        "17": status(JobState.PENDING),
        "14": status(JobState.HELD),
    },
    lists_none=Says(stdout="<?xml version='1.0'?><job_info><queue_info/><job_info/></job_info>\n"),
    unreadable=Says(stdout="job-ID  prior   name\n"),
    finds=(
        ("12", 0, Says(stdout=read("gridengine-qacct-failed.txt")),
         status(JobState.FAILED, "gemaster", exit_code=3)),
        ("13", 0, Says(stdout=read("gridengine-qacct-walltime.txt")),
         status(JobState.TIMEOUT, "gemaster", exit_code=-9,
                reason="qmaster enforced h_rt, h_cpu, or h_vmem limit")),
        ("15", 0, Says(stdout=read("gridengine-qacct-deleted.txt")),
         status(JobState.FAILED, "gemaster", exit_code=-9, reason="assumedly after job")),
        ("16", 0, Says(stdout=read("gridengine-qacct-done.txt")),
         status(JobState.COMPLETED, "gemaster", exit_code=0)),
        ("99", 0, Says(stderr="error: job id 99 not found\n", exit_code=1), None),
    ),
    cancels=(
        Says(stdout="root has registered the job 15 for deletion\n"),
        Says(stdout='root has deleted job 6\ndenied: job "99" does not exist\n', exit_code=1),
        Says(stdout="job 15 is already in deletion\n"),
    ),
)  # fmt: skip

OAR = Case(
    provider=OARProvider(queue="nosuch"),
    submits={"42": Says(stdout="[ADMISSION RULE] Modify resource description\nOAR_JOB_ID=42\n")},
    refuses={
        "oarsub refused: Queue nosuch does not exist": Says(
            stdout="", stderr="# Error: Queue nosuch does not exist\n", exit_code=8
        )
    },
    does_not_answer=Says(stderr="DB connection error, exiting.\n", exit_code=1),
    lists=Says(stdout=read("oarstat.json")),
    listed={
        "41": status(JobState.RUNNING, "node1", "node2"),
        "42": status(JobState.PENDING, reason="Karma = 0.2"),
        "43": status(JobState.HELD),
        "44": status(JobState.COMPLETED, "node1", exit_code=0),
        "45": status(JobState.FAILED, "node1", exit_code=3),
        "46": status(JobState.TIMEOUT, "node1", exit_code=-9),
        "47": status(JobState.CANCELLED, "node1"),
        "48": status(JobState.ENDING, "node1"),
    },
    lists_none=Says(stdout="{}\n"),
    unreadable=Says(stdout="Job id S User\n"),
    finds=(
        ("45", 0, Says(stdout=read("oarstat.json")), status(JobState.FAILED, "node1", exit_code=3)),
        ("99", 0, Says(), None),
    ),
    cancels=(
        Says(stdout="Deleting the job = 42 ...REGISTERED.\n"),
        Says(stderr="Cannot frag 42 ; This job was already killed.\n", exit_code=6),
    ),
)

HTCONDOR = Case(
    provider=HTCondorProvider(),
    submits={"123.0": Says(stdout="123.0 - 123.0\n")},
    refuses={
        "condor_submit refused: Parse error in expression": Says(
            stderr='ERROR: Parse error in expression: \n\tRequirements = "\n', exit_code=1
        )
    },
    does_not_answer=Says(
        stderr="ERROR: Can't find address of local schedd\n", exit_code=1
    ),
    lists=Says(
        stdout="""[
{"ClusterId": 1, "ProcId": 0, "JobStatus": 2, "RemoteHost": "slot1_1@node1"},
{"ClusterId": 2, "ProcId": 0, "JobStatus": 1},
{"ClusterId": 3, "ProcId": 0, "JobStatus": 5, "HoldReason": "via condor_hold (by user user)"},
{"ClusterId": 4, "ProcId": 0, "JobStatus": 6, "RemoteHost": "slot1_1@node1"},
{"ClusterId": 5, "ProcId": 0, "JobStatus": 7, "RemoteHost": "slot1_1@node1"}
]
"""
    ),
    listed={
        "1.0": status(JobState.RUNNING, "node1"),
        "2.0": status(JobState.PENDING),
        "3.0": status(JobState.HELD, reason="via condor_hold (by user user)"),
        "4.0": status(JobState.ENDING, "node1"),
        "5.0": status(JobState.RUNNING, "node1", reason="suspended"),
    },
    lists_none=Says(),
    unreadable=Says(stdout="-- Schedd: submit\n"),
    finds=(
        ("6.0", 0, Says(stdout='[{"ClusterId": 6, "ProcId": 0, "JobStatus": 4, "ExitBySignal": false, '
                               '"ExitCode": 3, "LastRemoteHost": "slot1_1@node1"}]'),
         status(JobState.FAILED, "node1", exit_code=3)),
        ("7.0", 0, Says(stdout='[{"ClusterId": 7, "ProcId": 0, "JobStatus": 4, "ExitBySignal": true, '
                               '"ExitSignal": 9}]'),
         status(JobState.FAILED, exit_code=-9)),
        ("8.0", 0, Says(stdout='[{"ClusterId": 8, "ProcId": 0, "JobStatus": 3, "RemoveReason": '
                               '"via condor_rm (by user user)"}]'),
         status(JobState.CANCELLED, reason="via condor_rm (by user user)")),
        ("9.0", 0, Says(stdout='[{"ClusterId": 9, "ProcId": 0, "JobStatus": 3, "RemoveReason": '
                               '"The job attribute PeriodicRemove expression \'x\' evaluated to TRUE"}]'),
         status(JobState.TIMEOUT,
                reason="The job attribute PeriodicRemove expression 'x' evaluated to TRUE")),
        ("99.0", 0, Says(), None),
    ),
    cancels=(
        Says(stdout="Job 1.0 marked for removal\n"),
        Says(stderr="Job 99.0 not found\n", exit_code=1),
    ),
)  # fmt: skip

LOCAL = Case(
    provider=LocalProvider(),
    submits={"/run/b-0.sh.42": Says(stdout="/run/b-0.sh.42\n")},
    refuses={
        "Job submission failed: [Errno 2] No such file or directory: '/run/b-0.sh'": Says(
            stderr="local: Job submission failed: [Errno 2] No such file or directory: '/run/b-0.sh'\n",
            exit_code=1,
        )
    },
    does_not_answer=Says(stderr="OSError: [Errno 11] Resource temporarily unavailable\n", exit_code=1),
    lists=Says(
        stdout="""{
"/b.sh.1": {"state": "running", "node": "here"},
"/b.sh.2": {"state": "ending", "node": "here", "reason": "cancelled"},
"/b.sh.3": {"state": "completed", "node": "here", "exit_code": 0},
"/b.sh.4": {"state": "failed", "node": "here", "exit_code": -9},
"/b.sh.5": {"state": "timeout", "node": "here", "exit_code": 0, "reason": "its walltime of 1 s is over"},
"/b.sh.6": {"state": "cancelled", "node": "here", "exit_code": 3, "reason": "cancelled"},
"/b.sh.7": {"state": "lost", "node": "here", "reason": "its supervisor was killed"}
}"""
    ),
    listed={
        "/b.sh.1": status(JobState.RUNNING, "here"),
        "/b.sh.2": status(JobState.ENDING, "here", reason="cancelled"),
        "/b.sh.3": status(JobState.COMPLETED, "here", exit_code=0),
        "/b.sh.4": status(JobState.FAILED, "here", exit_code=-9),
        "/b.sh.5": status(
            JobState.TIMEOUT, "here", exit_code=0, reason="its walltime of 1 s is over"
        ),
        "/b.sh.6": status(JobState.CANCELLED, "here", exit_code=3, reason="cancelled"),
        "/b.sh.7": status(JobState.NODE_FAILED, "here", reason="its supervisor was killed"),
    },
    lists_none=Says(stdout="{}"),
    unreadable=Says(stdout="[1]"),
    finds=(
        ("/b.sh.4", 0, Says(stdout='{"/b.sh.4": {"state": "failed", "node": "here", "exit_code": 1}}'),
         status(JobState.FAILED, "here", exit_code=1)),
        ("/b.sh.9", 0, Says(stdout="{}"), None),
    ),
)  # fmt: skip

CASES = {
    "slurm": SLURM,
    "pbs": PBS,
    "torque": TORQUE,
    "lsf": LSF,
    "gridengine": GRIDENGINE,
    "oar": OAR,
    "htcondor": HTCONDOR,
    "local": LOCAL,
}
