"""Whether this node reaches the scheduler, and under which of its addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from distributed.comm.core import connect

_RETRY_S = 0.5
_ATTEMPT_S = 5.0


async def first_in_reach(
    addresses: Sequence[str], connection_args: Mapping[str, Any], timeout_s: float
) -> tuple[str | None, str]:
    """Try all addresses of the scheduler, for `timeout_s`.

    Returns the first that answers and "", or None and what happened at each of them.
    """
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + timeout_s
    while True:
        attempt_s = max(0.1, min(_ATTEMPT_S, give_up_s - loop.time()))
        troubles = await asyncio.gather(
            *(_trouble(address, connection_args, attempt_s) for address in addresses)
        )
        for address, trouble in zip(addresses, troubles, strict=True):
            if not trouble:
                return address, ""
        if loop.time() + _RETRY_S >= give_up_s:
            tried = zip(addresses, troubles, strict=True)
            return None, ", ".join(f"{address} ({trouble})" for address, trouble in tried)
        await asyncio.sleep(_RETRY_S)


async def _trouble(address: str, connection_args: Mapping[str, Any], timeout_s: float) -> str:
    """Return what keeps this node from `address`; "" if nothing does."""
    try:
        comm = await connect(address, timeout=timeout_s, **connection_args)
    except OSError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, TimeoutError):
            return "no answer"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        return str(cause) or type(cause).__name__
    await comm.close()
    return ""
