"""Functions: wherever they are defined, calls run the code they had when they were recorded."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
import pytest

import daskflow
from daskflow import python_app


class Modules:
    """Writes modules into a folder that is put on this process's path only."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made: list[str] = []

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    def make(self, name: str, text: str) -> Any:
        self.write(name, text)
        self.made.append(name)
        return importlib.import_module(name)


@pytest.fixture
def modules(kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # The kernel is loaded before: its workers know nothing of this folder.
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    modules = Modules(tmp_path)
    yield modules
    for name in modules.made:
        sys.modules.pop(name, None)


def in_this_module(x: int) -> int:
    return helper(x) + 1


def helper(x: int) -> int:
    return 10 * x


def test_functions_of_this_module_with_their_globals(kernel: Any) -> None:
    assert python_app(in_this_module)(4).result() == 41


def test_lambdas_and_closures(kernel: Any) -> None:
    def make(n: int) -> Any:
        def inner(x: int) -> int:
            return n + helper(x)

        return inner

    assert python_app(lambda x: x + 1)(1).result() == 2
    futures = [python_app(make(n))(1) for n in range(3)]
    assert daskflow.gather(futures) == [10, 11, 12]


def test_functions_of_installed_modules_and_builtins(kernel: Any) -> None:
    import math
    import operator

    assert python_app(math.sqrt)(4.0).result() == 2.0
    assert python_app(operator.add)(1, 2).result() == 3
    assert python_app(sorted)([2, 1], reverse=True).result() == [2, 1]
    assert python_app(str.upper)("a").result() == "A"


def test_functions_and_classes_of_a_module_that_only_the_client_has(modules: Any) -> None:
    module = modules.make(
        "only_here",
        """
        import dataclasses
        import daskflow

        FACTOR = 3

        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int

            def scaled(self):
                return Point(times(self.x))

        class Odd(Exception):
            pass

        def times(x):
            return FACTOR * x

        @daskflow.python_app
        def app(x):
            return times(x)

        @daskflow.python_app
        def scaled(point):
            return point.scaled()

        @daskflow.python_app
        def complain(x):
            raise Odd(x)
        """,
    )
    assert module.app(2).result() == 6
    assert module.app(module.app(2)).result() == 18
    assert python_app(module.times)(2).result() == 6
    assert python_app(lambda x: module.times(x))(2).result() == 6  # noqa: PLW0108 # a global of it
    assert module.scaled(module.Point(2)).result() == module.Point(6)
    assert module.scaled([module.Point(2)][0]).x.result() == 6
    with pytest.raises(module.Odd, match="7"):
        module.complain(7).result()
    assert "only_here" not in {
        name for names in modules_on_workers(daskflow.dfk().client).values() for name in names
    }


def modules_on_workers(client: Any) -> dict[str, set[str]]:
    def names() -> set[str]:
        import sys

        return set(sys.modules)

    found: dict[str, set[str]] = client.run(names)
    return found


def test_joins_of_a_module_that_only_the_client_has(modules: Any) -> None:
    module = modules.make(
        "joins_only_here",
        """
        from daskflow import bash_app, join_app, python_app

        BASE = 100

        def plus(x):
            return BASE + x

        @python_app
        def add(x, y):
            return x + y

        @python_app
        def based(x):
            return plus(x)

        @bash_app
        def succeed():
            return "true"

        @join_app
        def fib(n):
            return based(n) if n < 2 else add(fib(n - 1), fib(n - 2))

        @join_app
        def many(n):
            return {"apps": [based(i) for i in range(n)], "shell": succeed()}
        """,
    )
    assert module.fib(5).result() == 8 * 100 + 5
    assert module.many(2).result() == {"apps": [100, 101], "shell": 0}


def test_modules_only_here_work_for_graphs_of_dask_too(modules: Any) -> None:
    module = modules.make(
        "composed_here",
        """
        import daskflow

        def twice(x):
            return 2 * x

        @daskflow.python_app
        def app(x):
            return twice(x)
        """,
    )
    assert dask.compute(module.app(2)) == (4,)
    assert dask.delayed(lambda x: x + 1)(module.app(2)).compute() == 5


def test_an_edited_and_reloaded_module_runs_its_new_code(modules: Any) -> None:
    def text(factor: int) -> str:
        return f"""
            import daskflow

            FACTOR = {factor}

            def times(x):
                return FACTOR * x

            @daskflow.python_app
            def app(x):
                return times(x)

            @daskflow.python_app
            def own(x):
                return {factor} * x
            """

    module = modules.make("edited", text(2))
    assert (module.app(1).result(), module.own(1).result()) == (2, 2)
    modules.write("edited", text(3000))
    module = importlib.reload(module)
    assert (module.app(1).result(), module.own(1).result()) == (3000, 3000)


def test_an_edited_module_that_workers_have_imported_runs_its_new_code(modules: Any) -> None:
    def text(factor: int, sign: str = "") -> str:
        return f"""
            import daskflow

            FACTOR = {factor}

            class Scale:
                def of(self, x):
                    return {sign}x

            def times(x):
                return Scale().of(FACTOR * x)

            @daskflow.python_app
            def app(x):
                return times(x)

            @daskflow.python_app
            def is_scale(x):
                return isinstance(x, Scale)
            """

    def import_it(folder: str) -> None:
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        importlib.import_module("known_there")
        sys.path.remove(folder)

    module = modules.make("known_there", text(2))
    daskflow.dfk().client.run(import_it, str(modules.folder))
    assert module.app(1).result() == 2
    for edit, expected in ((text(3000), 3000), (text(3000, "-"), -3000)):
        modules.write("known_there", edit)
        module = importlib.reload(module)
        assert module.app(1).result() == expected
        assert module.is_scale(module.Scale()).result()


def test_a_changed_global_is_seen_by_calls_that_are_submitted_later(
    kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = python_app(uses_setting)
    assert app().result() == "before"
    monkeypatch.setitem(globals(), "SETTING", "after")
    assert app().result() == "after"


SETTING = "before"


def uses_setting() -> str:
    return SETTING


def test_a_function_redefined_under_its_name_is_another_function(kernel: Any) -> None:
    apps = []
    for value in (1, 2):

        def redefined(value: int = value) -> int:
            return value

        apps.append(python_app(redefined))
    assert [app().result() for app in apps] == [1, 2]


def test_a_module_made_at_run_time_is_no_obstacle(kernel: Any) -> None:
    module = ModuleType("made_at_run_time")
    exec("def f(x):\n    return x + offset\noffset = 5", vars(module))
    sys.modules["made_at_run_time"] = module
    try:
        assert python_app(module.f)(1).result() == 6
    finally:
        del sys.modules["made_at_run_time"]


def test_functions_and_classes_of_main(script: Callable[[str], Any]) -> None:
    done = script(
        """
        import dataclasses
        import daskflow
        from daskflow import bash_app, join_app, python_app

        FACTOR = 3

        @dataclasses.dataclass
        class Point:
            x: int

        class Odd(Exception):
            pass

        def times(x):
            return FACTOR * x

        @python_app
        def app(point):
            return Point(times(point.x))

        @python_app
        def complain():
            raise Odd("odd")

        @join_app
        def join(n):
            return [app(Point(i)) for i in range(n)]

        @bash_app
        def shell(x):
            return f"exit {times(x) - 3}"

        def main():
            global FACTOR
            executor = daskflow.LocalExecutor(workers=1, memory_limit=0)
            with daskflow.load(daskflow.Config(executors=[executor], dashboard=False)):
                print(app(Point(2)).result(), type(app(Point(2)).result()) is Point)
                print(join(2).result(), shell(1).result())
                print(type(complain().exception()) is Odd)
                print(python_app(lambda: [times(1)])().result())
                FACTOR = 4
                print(app(Point(2)).result())

        if __name__ == "__main__":
            main()
        """
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "Point(x=6) True",
        "[Point(x=0), Point(x=3)] 0",
        "True",
        "[3]",
        "Point(x=8)",
    ]


def test_main_works_without_a_guard_under_worker_processes(script: Callable[[str], Any]) -> None:
    done = script(
        """
        import daskflow

        @daskflow.python_app
        def one():
            return 1

        executor = daskflow.LocalExecutor(workers=1, memory_limit=0)
        with daskflow.load(daskflow.Config(executors=[executor], dashboard=False)):
            print(one().result())
        """
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
