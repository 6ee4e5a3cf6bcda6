"""Which addresses of this machine compute nodes may reach a scheduler under."""

from __future__ import annotations

import socket

import psutil

from jobqueue_sites.errors import SettingsError

ANY = "0.0.0.0"


def own_addresses() -> list[str]:
    """Return this machine's IPv4 addresses, those that lead out first; loopback only if it is all."""
    found = []
    stats = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if name in stats and stats[name].isup:
            found += [a.address for a in addresses if a.family == socket.AF_INET]
    leading_out = [address for address in found if not address.startswith("127.")]
    return leading_out or ["127.0.0.1"]


def address_of_interface(interface: str) -> str:
    """Return the IPv4 address of a network interface.

    Raises
    ------
    SettingsError
        There is no such interface, or it has no such address.
    """
    interfaces = psutil.net_if_addrs()
    if interface not in interfaces:
        there = ", ".join(sorted(interfaces))
        raise SettingsError(f"interface={interface!r}: this machine has {there}")
    for address in interfaces[interface]:
        if address.family == socket.AF_INET:
            return address.address
    raise SettingsError(f"interface={interface!r}: has no IPv4 address")


def listening_host(host: str | None, interface: str | None, *, encrypted: bool) -> str:
    """Return what a scheduler is to listen on: what is said here, or else in Dask's configuration.

    There it is ``jobqueue-sites.host``. If nothing is said: all addresses, but only if strangers are
    kept out by certificates; otherwise the first one.
    """
    if host is not None:
        return _own(host, "host")
    if interface is not None:
        return address_of_interface(interface)
    import dask.config

    configured = dask.config.get("jobqueue-sites.host", None)
    if configured is not None:
        return _own(str(configured), "jobqueue-sites.host")
    return ANY if encrypted else own_addresses()[0]


def _own(host: str, said: str) -> str:
    """Return `host` if something can listen on it here."""
    why = ""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, 0, type=socket.SOCK_STREAM
        ):
            with socket.socket(family, kind, protocol) as listener:
                try:
                    listener.bind(address)
                except OSError as error:
                    why = str(error.strerror)
                else:
                    return host
    except (OSError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or error)
    there = ", ".join(own_addresses())
    raise SettingsError(f"{said}={host!r}: is no address of this machine ({why}); it has {there}")


def contact_addresses(address: str, host: str) -> list[str]:
    """Return the addresses to offer to nodes for a scheduler at `address` that listens on `host`."""
    protocol, _, rest = address.partition("://")
    port = rest.rpartition(":")[2]
    if host != ANY:
        return [address]
    return [f"{protocol}://{own}:{port}" for own in own_addresses()]
