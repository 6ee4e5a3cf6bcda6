"""From an app to what a worker must know of it: `SpecMaker`, made anew for each graph.

A function of ``__main__`` is pickled once for each graph, so that a changed global is seen by the
calls that are submitted after the change.
"""

from __future__ import annotations

from collections.abc import Callable

from daskflow.graph.call import AppSpec, Call, Options
from daskflow.graph.functions import Shipped, reference, travelling
from daskflow.retries import Retry, as_retry
from daskflow.worker.functions import FunctionSpec

RetryOf = Callable[[Options], Retry | None]


def own_retry(options: Options) -> Retry | None:
    """Return the retry policy that the options themselves give."""
    return None if options.retries is None else as_retry(options.retries)


class SpecMaker:
    """Makes the FunctionSpec of calls, each app's once.

    `decide_at_home` says whether a failed call's further tries are decided by the kernel.
    """

    def __init__(
        self,
        retry_of: RetryOf = own_retry,
        decide_at_home: Callable[[Options], bool] = lambda _options: False,
    ):
        self._retry_of = retry_of
        self._decide_at_home = decide_at_home
        self._made: dict[tuple[int, int], tuple[FunctionSpec, AppSpec, Options]] = {}

    def __call__(self, call: Call) -> FunctionSpec:
        app, options = call.app, call.options
        known = self._made.get((id(app), id(options)))
        if known is None:
            known = self._make(app, options), app, options
            self._made[id(app), id(options)] = known
        return known[0]

    def _make(self, app: AppSpec, options: Options) -> FunctionSpec:
        func = app.func
        if not isinstance(func, Shipped):
            where = reference(func)
            func = Shipped(where, travelling(func, app.name, where))
        at_home = self._decide_at_home(options)
        return FunctionSpec(
            name=app.name,
            kind=app.kind,
            reference=func.reference,
            body=func.body,
            retry=None if at_home else self._retry_of(options),
            ask_home=at_home,
            walltime_s=options.walltime_s,
            isolate=options.isolate,
            runner=app.runner,
        )
