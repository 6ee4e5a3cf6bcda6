"""Apps: what a decorator accepts, what an App keeps of its function, and which keywords reach it."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import dask
import pytest

import daskflow
from daskflow import AUTO_LOGNAME, App, File, bash_app, join_app, python_app

DECORATORS = [python_app, bash_app, join_app]


@pytest.fixture(autouse=True)
def _in_this_thread(without_kernel: None) -> Any:
    with dask.config.set(scheduler="sync"):
        yield


def add(x: int, y: int = 1) -> int:
    """Add two numbers."""
    return x + y


@pytest.mark.parametrize("decorator", DECORATORS)
def test_an_app_is_made_with_and_without_parentheses(decorator: Any) -> None:
    for app in (decorator(add), decorator()(add), decorator(retries=1)(add)):
        assert isinstance(app, App)
        assert app.func is add


def test_an_app_keeps_name_signature_and_docstring() -> None:
    app = python_app(add)
    assert (app.__name__, app.__qualname__, app.__doc__) == ("add", "add", "Add two numbers.")
    assert app.__module__ == add.__module__
    assert inspect.signature(app) == inspect.signature(add)
    assert app.name == "add"
    assert "add" in repr(app)


def test_a_lambda_and_a_callable_object_have_names_too() -> None:
    class Adder:
        def __call__(self, x: int) -> int:
            return x + 1

    assert python_app(lambda x: x)(3).compute() == 3
    assert python_app(Adder())(3).compute() == 4
    assert python_app(Adder()).name == "Adder"


def test_the_plain_function_runs_at_once() -> None:
    assert python_app(add).func(1, 2) == 3


@pytest.mark.parametrize("decorator", DECORATORS)
def test_an_unknown_option_is_refused_naming_the_allowed_ones(decorator: Any) -> None:
    with pytest.raises(TypeError, match=r"'cash'.*allowed are executors, retries, walltime_s"):
        decorator(cash=True)
    with pytest.raises(TypeError, match="'cash'"):
        decorator(add, cash=True)
    with pytest.raises(TypeError, match="'cash'"):
        decorator(add).options(cash=True)


@pytest.mark.parametrize(
    "option",
    [
        {"retries": -1},
        {"retries": "often"},
        {"walltime_s": 0},
        {"walltime_s": True},
        {"resources": {"GPU": 0}},
        {"resources": ["GPU"]},
        {"priority": "high"},
        {"isolate": 1},
        {"executors": "local"},
        {"executors": []},
    ],
    ids=str,
)
def test_a_value_that_cannot_work_is_refused_when_the_app_is_made(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(daskflow.ConfigurationError, match=name):
        python_app(**option)


def test_options_give_a_copy_with_others() -> None:
    app = python_app(retries=1, priority=2)(add)
    copy = app.options(retries=3)
    assert copy is not app
    assert copy.func is app.func
    assert (app(1).call.options.retries, copy(1).call.options.retries) == (1, 3)
    assert copy(1).call.options.priority == 2


def test_map_records_a_call_for_each_tuple_of_items() -> None:
    futures = python_app(add).map([1, 2, 3], [10, 20])
    assert [f.compute() for f in futures] == [11, 22]
    assert [f.compute() for f in python_app(add).map(range(3), y=5)] == [5, 6, 7]
    with pytest.raises(TypeError, match="at least one iterable"):
        python_app(add).map()


async def coroutine() -> None: ...


async def async_generator() -> Any:
    yield 1


def generator() -> Any:
    yield 1


class Thing: ...


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (coroutine, "async def"),
        (async_generator, "async def"),
        (generator, "generator"),
        (Thing, "class"),
        (staticmethod(add), "staticmethod"),
        (classmethod(add), "classmethod"),
        (python_app(add), "app already"),
        (42, "no function"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_an_app_is_refused_with_the_reason(
    decorator: Any, unfit: Any, reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        decorator(unfit)


def test_a_method_is_an_app_of_its_instance() -> None:
    class Scaled:
        def __init__(self, factor: int):
            self.factor = factor

        @python_app
        def times(self, x: int) -> int:
            return self.factor * x

        @staticmethod
        @python_app
        def twice(x: int) -> int:
            return 2 * x

    assert Scaled(3).times(5).compute() == 15
    assert Scaled(3).twice(5).compute() == 10
    assert isinstance(Scaled.times, App)


def test_wrong_arguments_fail_the_call_as_they_would_fail_the_function() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        python_app(add)(1, z=2).compute()


def test_dask_annotations_around_a_call_are_its_options() -> None:
    app = python_app(priority=1)(add)
    with dask.annotate(retries=2, priority=7, resources={"GPU": 1}, workers=["alice"]):
        options = app(1).call.options
    assert (options.retries, options.priority, options.resources) == (2, 7, {"GPU": 1})
    assert options.annotations == {"workers": ["alice"]}
    assert app(1).call.options.priority == 1


def test_an_app_of_a_module_travels_by_name_and_any_other_by_value() -> None:
    assert pickle.loads(pickle.dumps(MODULE_APP)) is MODULE_APP
    import cloudpickle

    copy = cloudpickle.loads(cloudpickle.dumps(python_app(priority=3)(lambda x: x + 1)))
    assert copy.func(1) == 2
    assert copy(1).call.options.priority == 3


@python_app
def module_app(x: int) -> int:
    return x


MODULE_APP = module_app


# ---- special keywords ---------------------------------------------------------------------------


def test_special_keywords_do_not_reach_a_function_that_does_not_take_them(tmp_path: Path) -> None:
    @python_app
    def bare(x: int) -> int:
        return x

    out = File(tmp_path / "made")
    (tmp_path / "made").touch()
    future = bare(
        1,
        inputs=[2],
        outputs=[out],
        stdout=str(tmp_path / "o"),
        stderr=str(tmp_path / "e"),
        walltime=9,
        label="first",
    )
    assert future.compute() == 1
    assert future.call.extras.walltime_s == 9.0
    assert [f.file_obj for f in future.outputs] == [out]
    assert future.stdout == str(tmp_path / "o")


def test_special_keywords_reach_a_function_that_takes_them(tmp_path: Path) -> None:
    @python_app
    def named(inputs=(), outputs=(), stdout=None, stderr=None, walltime=None, label=None) -> Any:
        return list(inputs), list(outputs), stdout, stderr, walltime, label

    out = File(tmp_path / "made")
    (tmp_path / "made").touch()
    given = {
        "inputs": [1, 2],
        "outputs": [out],
        "stdout": str(tmp_path / "o"),
        "stderr": str(tmp_path / "e"),
        "walltime": 9,
        "label": "first",
    }
    assert named(**given).compute() == tuple(given.values())


def test_special_keywords_reach_a_function_that_takes_any() -> None:
    @python_app
    def anything(**kwargs: Any) -> Any:
        return kwargs

    given = {"inputs": [1], "label": "x", "walltime": 5}
    assert anything(**given).compute() == given


def test_a_parameter_of_such_a_name_with_another_meaning_stays_the_functions() -> None:
    @python_app
    def physics(inputs: int, outputs: str, stdout: float, walltime: str, label: int) -> Any:
        return inputs, outputs, stdout, walltime, label

    future = physics(inputs=3, outputs="many", stdout=1.5, walltime="long", label=7)
    assert future.compute() == (3, "many", 1.5, "long", 7)
    assert future.outputs == []
    assert future.stdout is None


@pytest.mark.parametrize(
    "keyword",
    [
        {"walltime": "long"},
        {"walltime": -1},
        {"stdout": 3},
        {"stderr": ("x", "r")},
        {"outputs": ["plain"]},
        {"outputs": File("x")},
        {"inputs": 3},
        {"label": 3},
    ],
    ids=str,
)
def test_a_special_keyword_of_a_wrong_kind_is_refused_where_the_function_does_not_take_it(
    keyword: dict[str, Any],
) -> None:
    (name,) = keyword
    with pytest.raises(
        (TypeError, daskflow.ConfigurationError, daskflow.BadStdStreamFile), match=name
    ):
        python_app(add)(1, **keyword)


def test_none_as_a_special_keyword_means_nothing() -> None:
    future = python_app(add)(1, stdout=None, stderr=None, walltime=None, label=None)
    assert future.compute() == 2
    assert future.stdout is None


def test_a_default_in_the_signature_counts_as_given(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    @python_app
    def speak(x: int, stdout: Any = log, walltime: float = 5) -> Any:
        print("hello")
        return stdout, walltime

    future = speak(1)
    assert future.compute() == (log, 5)
    assert Path(log).read_text() == "hello\n"
    assert future.call.extras.walltime_s == 5
    other = str(tmp_path / "other")
    assert speak(1, stdout=other, walltime=6).compute() == (other, 6)
    assert Path(other).read_text() == "hello\n"
    assert speak(1, None).compute() == (None, 5)


def test_what_a_join_app_prints_goes_where_its_stdout_says(tmp_path: Path) -> None:
    @join_app
    def body() -> Any:
        print("deciding")
        return python_app(add)(1)

    assert body(stdout=str(tmp_path / "log")).compute() == 2
    assert (tmp_path / "log").read_text() == "deciding\n"


def test_the_callers_lists_are_never_changed(tmp_path: Path) -> None:
    @python_app
    def greedy(inputs: list[Any], outputs: list[Any], words: list[Any]) -> int:
        inputs.clear()
        outputs.clear()
        words.append("more")
        return len(words)

    (tmp_path / "made").touch()
    inputs, outputs, words = [1, 2], [File(tmp_path / "made")], ["a"]
    before = (list(inputs), list(outputs), list(words))
    assert greedy(inputs=inputs, outputs=outputs, words=words).compute() == 2
    assert (inputs, outputs, words) == before


def test_the_walltime_of_a_call_overrides_that_of_its_app() -> None:
    @python_app(walltime_s=0.05)
    def spin(until_s: float) -> str:
        import time

        end = time.monotonic() + until_s
        while time.monotonic() < end:
            pass
        return "done"

    with pytest.raises(daskflow.AppTimeout, match=r"0\.05 s"):
        spin(30).compute()
    assert spin(0.1, walltime=60).compute() == "done"
    with pytest.raises(daskflow.AppTimeout, match=r"0\.01 s"):
        spin(30, walltime=0.01).compute()


def test_auto_logname_names_a_file_of_the_call(tmp_path: Path) -> None:
    @python_app
    def speak(stdout: Any = None) -> Any:
        print("hello")
        return stdout

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        future = speak(stdout=AUTO_LOGNAME, label="greeting")
        told = future.compute()
        assert Path(future.stdout).read_text() == "hello\n"
    assert future.key in future.stdout
    assert "greeting" in future.stdout
    assert told == future.stdout
