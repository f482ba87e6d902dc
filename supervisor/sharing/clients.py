"""Clients of Redis or Valkey: the one that an address stands for. Imported when one is needed."""

# The package need not be there when types are checked:
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import coredis  # type: ignore[import-not-found, unused-ignore]
from coredis.connection import TCPLocation  # type: ignore[import-not-found, unused-ignore]
from coredis.retry import NoRetryPolicy  # type: ignore[import-not-found, unused-ignore]

from supervisor.sharing.address import Address


@asynccontextmanager
async def client_of(
    address: Address, seconds: float, context: ssl.SSLContext | None
) -> AsyncGenerator[Any]:
    """Connect with a client that tries nothing twice, and takes so long for a connection at most.

    Args:
        address: where to.
        seconds: for the connection; an answer takes as long as its asker waits for it.
        context: for TLS, in the place of the usual one.
    """
    options: dict[str, Any] = {"connect_timeout": seconds}
    if address.tls:
        options["ssl_context"] = context or ssl.create_default_context()
    login = {"username": address.user, "password": address.password}
    hosts = [TCPLocation(host, port) for host, port in address.hosts]
    match address.kind:
        case "sentinel":
            watchers = coredis.Sentinel(
                hosts,
                sentinel_kwargs={**options, "stream_timeout": seconds},
                **options,
                **login,
                db=address.database,
            )
            async with watchers, watchers.primary_for(address.service) as client:
                yield client
        case "cluster":
            async with coredis.RedisCluster(
                startup_nodes=hosts, retry_policy=NoRetryPolicy(), **options, **login
            ) as client:
                yield client
        case "unix":
            async with coredis.Redis(
                unix_socket_path=address.service, retry_policy=NoRetryPolicy(), **login
            ) as client:
                yield client
        case _:
            host, port = address.hosts[0]
            async with coredis.Redis(
                host,
                port,
                address.database,
                retry_policy=NoRetryPolicy(),
                **options,
                **login,
            ) as client:
                yield client
