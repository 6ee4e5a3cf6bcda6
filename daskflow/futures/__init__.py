"""Futures: what a call returns; lazy, a Dask collection and a `concurrent.futures.Future` at once."""

from daskflow.futures.appfuture import AppFuture
from daskflow.futures.datafuture import DataFuture

__all__ = ["AppFuture", "DataFuture"]
