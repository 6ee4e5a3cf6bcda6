"""load, dfk, clear, close: which kernel there is, and what futures say once it is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import distributed
import pytest

import daskflow
from daskflow import (
    Config,
    ConfigurationError,
    DataFlowKernel,
    ExistingExecutor,
    KernelClosedError,
    NoDataFlowKernelError,
    python_app,
)
from daskflow.futures.recording import process
from tests.integration.jobqueue_sites.machine import until

Configs = Callable[..., Config]


@python_app
def square(x: int) -> int:
    return x * x


@python_app
def big() -> bytes:
    return bytes(3_000_000)


@python_app
def fail(words: str) -> None:
    raise ValueError(words)


def hold(path: str) -> None:
    Path(path).read_text()


def release(path: str) -> None:
    Path(path).write_text("")


@python_app
def held(path: str) -> str:
    hold(path)
    return "released"


def test_load_returns_a_kernel_that_the_with_block_closes(threads: Configs) -> None:
    with daskflow.load(threads()) as kernel:
        assert daskflow.dfk() is kernel
        assert square(3).result() == 9
        assert not kernel.is_closed
    assert kernel.is_closed
    with pytest.raises(NoDataFlowKernelError, match=r"daskflow\.load\(\)"):
        daskflow.dfk()


def test_a_toml_path_is_a_config(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        f"run_dir = '{tmp_path}/logs'\ndashboard = false\n"
        "[[executors]]\nkind = 'threads'\nmax_threads = 1\nlabel = 'few'\n"
    )
    for given in (path, str(path)):
        with daskflow.load(given) as kernel:
            assert [e.label for e in kernel.config.executors] == ["few"]
            assert kernel.run_dir.parent == tmp_path / "logs"
            assert square(2).result() == 4


def test_what_is_no_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"load\(3\): must be a Config"):
        daskflow.load(3)
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        daskflow.load(tmp_path / "nowhere.toml")
    assert process.kernel is None


def test_loading_an_equal_config_returns_the_same_kernel(threads: Configs) -> None:
    kernel = daskflow.load(threads())
    assert daskflow.load(threads()) is kernel
    assert square(2).result() == 4


def test_another_config_is_an_error_that_says_where_the_first_was_loaded(threads: Configs) -> None:
    kernel = daskflow.load(threads())
    with pytest.raises(ConfigurationError, match=r"test_loading\.py:\d+.*replace=True"):
        daskflow.load(threads(retries=3))
    assert daskflow.dfk() is kernel
    assert square(2).result() == 4


def test_the_error_names_the_line_whose_demand_loaded_the_default_kernel(
    threads: Configs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert square(2).result() == 4
    assert isinstance(process.kernel, DataFlowKernel)
    with pytest.raises(ConfigurationError, match=r"test_loading\.py:\d+"):
        daskflow.load(threads())


def test_replace_closes_the_first_kernel_and_loads_another(threads: Configs) -> None:
    first = daskflow.load(threads())
    second = daskflow.load(threads(retries=1), replace=True)
    assert first.is_closed
    assert daskflow.dfk() is second
    assert square(3).result() == 9


def test_calls_made_before_loading_belong_to_the_kernel_that_comes(threads: Configs) -> None:
    early = square(4)
    with daskflow.load(threads()):
        assert square(early).result() == 256
    assert early.result() == 16


def test_a_first_demand_loads_the_default_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    future = square(5)
    assert process.kernel is None
    assert future.result() == 25
    kernel = daskflow.dfk()
    assert kernel.config == Config()
    assert daskflow.load() is kernel
    assert (tmp_path / "runinfo" / "000" / "daskflow.log").exists()
    square(6)
    with pytest.warns(RuntimeWarning, match="1 call"):
        daskflow.clear()


def test_clear_closes_the_kernel_and_is_harmless_without_one(threads: Configs) -> None:
    kernel = daskflow.load(threads())
    daskflow.clear()
    assert kernel.is_closed
    daskflow.clear()


def test_close_twice_is_harmless(threads: Configs) -> None:
    kernel = daskflow.load(threads())
    assert kernel.close() == 0
    assert kernel.close() == 0


def test_closing_with_wait_runs_what_was_recorded(threads: Configs) -> None:
    kernel = daskflow.load(threads())
    futures = [square(x) for x in range(5)]
    assert kernel.close(wait=True) == 0
    assert [f.result() for f in futures] == [0, 1, 4, 9, 16]


def test_close_says_how_many_calls_it_cancelled(threads: Configs) -> None:
    kernel = daskflow.load(threads())
    futures = [square(x) for x in range(5)]
    assert kernel.close() == 5
    assert all(f.cancelled() for f in futures)


def test_values_and_errors_are_there_after_close_and_the_rest_is_cancelled(
    threads: Configs,
) -> None:
    with daskflow.load(threads()):
        good, bad = square(3), fail("no luck")
        assert good.result() == 9
    assert good.result() == 9
    assert daskflow.gather([good, good]) == [9, 9]
    with pytest.raises(ValueError, match="no luck"):
        bad.result()
    assert process.kernel is None, "asking for what is there loads no kernel"


def test_a_value_too_large_to_be_fetched_unasked_names_the_closed_kernel(config: Configs) -> None:
    with daskflow.load(config()):
        fetched, never_asked = big(), big()
        assert len(fetched.result()) == 3_000_000
    assert len(fetched.result()) == 3_000_000
    with pytest.raises(KernelClosedError, match="before the kernel is closed"):
        never_asked.result()


def test_a_call_cancelled_by_close_says_so(threads: Configs) -> None:
    kernel = daskflow.load(threads())
    future = square(1)
    kernel.close()
    with pytest.raises(CancelledError, match="the kernel was closed"):
        future.result()
    with pytest.raises(KernelClosedError):
        kernel.submit()
    with pytest.raises(KernelClosedError):
        kernel.wait_for_current_tasks()


def test_a_derived_future_demanded_after_close_is_an_error_and_no_hang(threads: Configs) -> None:
    with daskflow.load(threads()):
        whole = square(3)
        part = whole + 1
        assert whole.result() == 9
    with pytest.raises((KernelClosedError, CancelledError)):
        part.result(timeout=10)


def test_wait_for_current_tasks_runs_and_waits(threads: Configs) -> None:
    with daskflow.load(threads()):
        futures = [square(x) for x in range(5)]
        daskflow.wait_for_current_tasks()
        assert {f.task_status() for f in futures} == {"exec_done"}


def test_wait_for_current_tasks_gives_up_after_its_timeout_and_the_calls_go_on(
    threads: Configs, fifo: Callable[[str], str]
) -> None:
    gate = fifo("gate")
    with daskflow.load(threads()):
        future = held(gate)
        with pytest.raises(TimeoutError):
            daskflow.wait_for_current_tasks(timeout=0.05)
        release(gate)
        assert future.result() == "released"


def test_submit_returns_at_once_and_the_calls_run(
    threads: Configs, fifo: Callable[[str], str]
) -> None:
    gate = fifo("gate")
    with daskflow.load(threads()):
        future = held(gate)
        daskflow.submit(future)
        until(future.running)
        release(gate)  # returns only once the call has opened its end
        assert future.result() == "released"


def test_gather_keeps_the_shape(threads: Configs) -> None:
    with daskflow.load(threads()):
        nested = {"a": [square(1), square(2)], "b": (square(3), {"c": square(4)}), "d": []}
        assert daskflow.gather(nested) == {"a": [1, 4], "b": (9, {"c": 16}), "d": []}
        assert daskflow.gather(square(5)) == 25
        assert daskflow.gather(square(x) for x in range(3)) == [0, 1, 4]


def test_gather_raises_the_first_error_or_returns_errors_in_their_places(
    threads: Configs,
) -> None:
    with daskflow.load(threads()):
        cancelled = square(1)
        assert cancelled.cancel()
        mixed = [square(2), fail("one"), (fail("two"), cancelled)]
        with pytest.raises(ValueError, match="one"):
            daskflow.gather(mixed)
        good, one, (two, gone) = daskflow.gather(mixed, return_exceptions=True)
        assert good == 4
        assert isinstance(one, ValueError)
        assert str(two) == "two"
        assert isinstance(gone, CancelledError)


@pytest.mark.parametrize("what", [3, "abc", [square, 3], b"x"])
def test_gather_refuses_what_holds_no_futures(threads: Configs, what: object) -> None:
    with daskflow.load(threads()):
        with pytest.raises(TypeError, match="no future"):
            daskflow.gather(what)


# A LocalCluster of distributed leaves sockets of its HTTP servers to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_client_a_cluster_or_an_address_brings_its_own_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        for given in (cluster, cluster.scheduler_address):
            with daskflow.load(given) as kernel:
                assert isinstance(kernel.config.executors[0], ExistingExecutor)
                assert square(3).result() == 9
        with distributed.Client(cluster) as client:
            with daskflow.load(client) as kernel:
                assert kernel.client is client
                assert square(4).result() == 16
            assert client.submit(abs, -1).result() == 1, "somebody else's client stays open"


def test_the_log_tells_of_the_kernel_but_of_no_call(threads: Configs) -> None:
    with daskflow.load(threads()) as kernel:
        daskflow.gather([square(x) for x in range(50)])
    log = (kernel.run_dir / "daskflow.log").read_text()
    assert "kernel loaded" in log
    assert "kernel closed" in log
    assert len(log.splitlines()) < 10
    assert not logging.getLogger("daskflow").handlers


def test_each_kernel_has_a_numbered_folder_and_a_log_only_if_wanted(threads: Configs) -> None:
    with daskflow.load(threads()) as first:
        pass
    with daskflow.load(threads(log_level=None)) as second:
        pass
    assert (first.run_dir.name, second.run_dir.name) == ("000", "001")
    assert not (second.run_dir / "daskflow.log").exists()
