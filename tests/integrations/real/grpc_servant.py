"""A server of gRPC that answers as the names of its methods say."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

grpc: Any = pytest.importorskip("grpc")


class Servant(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers each method as its name says: "/shop/" and a kind and what becomes of the call."""

    def __init__(self) -> None:
        self.calls = 0
        self.asked = anyio.Event()

    def service(self, details: Any) -> Any:
        kind, _, fault = details.method.removeprefix("/shop/").partition("-")
        handler = getattr(grpc, f"{kind}_rpc_method_handler")
        self.calls += 1
        self.asked.set()
        return handler(getattr(self, f"of_{kind.split('_')[1]}")(fault))

    def of_unary(self, fault: str) -> Any:
        async def answer(requests: Any, context: Any) -> bytes:
            sent = (
                requests if isinstance(requests, bytes) else b"".join([r async for r in requests])
            )
            await self.fail(fault, context)
            return b"got " + sent

        return answer

    def of_stream(self, fault: str) -> Any:
        async def answer(requests: Any, context: Any) -> AsyncIterator[bytes]:
            fault_now, _, at_once = fault.partition(" ")
            if at_once:
                await self.fail(fault_now, context)
            yield b"got"
            if isinstance(requests, bytes):
                yield requests
            else:
                async for request in requests:
                    yield request
            await self.fail(fault_now, context)

        return answer

    async def fail(self, fault: str, context: Any) -> None:
        if fault == "hang":
            await anyio.sleep_forever()
        asked, _, name = fault.partition(":")
        if asked == "hint":
            code = grpc.StatusCode[name or "UNAVAILABLE"]
            details = importlib.import_module("google.rpc.error_details_pb2")
            status = importlib.import_module("google.rpc.status_pb2").Status(code=code.value[0])
            info = details.RetryInfo()
            info.retry_delay.FromSeconds(700)
            status.details.add().Pack(info)
            await context.abort(
                code,
                "busy",
                (("grpc-status-details-bin", status.SerializeToString()),),
            )
        if fault != "ok":
            await context.abort(grpc.StatusCode[fault], "told so", (("who", "server"),))
