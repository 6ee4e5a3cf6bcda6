"""Values that stayed on their workers, fetched when somebody asks for them."""

from __future__ import annotations

from typing import Any

from daskflow.errors import WorkerLost
from daskflow.futures.recording import key_of
from daskflow.graph import tasks
from daskflow.graph.call import Call
from daskflow.worker.batch import pick
from daskflow.worker.outcome import Outcome


def fetched(client: Any, call: Call, *, may_connect: bool) -> Any:
    """Return the value of a finished call that stayed on its worker, in travelling form.

    With `may_connect`, it comes straight from the worker; else perhaps by way of the scheduler.

    Raises
    ------
    WorkerLost
        It was lost with its worker.
    """
    lost = WorkerLost(
        call.app.name,
        f"the value of call {key_of(call)} was large, stayed on a worker, and was lost with it",
    )
    try:
        value = _fetched(client, call, may_connect or None)
    except Exception as error:
        if killed_task(error) is None:
            raise
        raise lost from error
    if isinstance(value, Outcome):
        raise lost
    return value


def killed_task(error: BaseException | None) -> object | None:
    """Return the key of the task that Dask has given up because its workers died; else None."""
    return getattr(error, "task", None) if type(error).__name__ == "KilledWorker" else None


def _fetched(client: Any, call: Call, direct: bool | None) -> Any:
    batch = call.batch
    if batch.members == 1:
        return client.gather(batch.future, direct=direct).entries[0]
    key = f"pick-{call.member}-of-{batch.key}"
    graph = tasks.high_level_graph(
        [({key: tasks.task(key, pick, call.member, inputs=[batch.key])}, {})]
    )
    (future,) = client.get(graph, [key], sync=False)
    return client.gather(future, direct=direct)
