"""Where readings come from: a `CircuitsApp`, asked by HTTP."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, cast

import anyio
import httpx

from supervisor.commands.texts import printable
from supervisor.commands.top.plan import Plan, TopError
from supervisor.commands.top.reading import Reading

PATIENCE: Final = 10.0
"""Seconds for one reading, redirects included."""

MOST_REDIRECTS: Final = 5


class UnreadError(Exception):
    """There is no reading, for now; the text says why."""


class Source:
    """One process, as its `CircuitsApp` shows it.

    Asked again and again, over one connection as long as that lasts: so if several processes share
    an address, it is mostly the same one that answers. A stream of events would begin anew every
    few seconds, with any of them.

    Attributes:
        name: the address, without a password if there is one in it.
        place: host and port alone.
    """

    def __init__(self, url: httpx.URL, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client
        self.name: Final = printable(str(url.copy_with(userinfo=b"")))
        self.place: Final = printable(url.netloc.decode("ascii", "backslashreplace"))

    async def read(self) -> Reading:
        """Return how the circuits are now.

        Raises:
            UnreadError: no answer, or another one.
        """
        try:
            with anyio.fail_after(PATIENCE):
                body = await self._get()
        except TimeoutError:
            raise UnreadError(f"no answer within {PATIENCE:g} s") from None
        except httpx.HTTPError as error:
            raise UnreadError(_reason(error)) from error
        try:
            return Reading.model_validate(json.loads(body))
        except (ValueError, RecursionError):
            raise UnreadError("its JSON is not that of a CircuitsApp") from None

    async def _get(self) -> bytes:
        request = self._client.build_request("GET", self._url)
        for _ in range(MOST_REDIRECTS):
            response = await self._client.send(request, stream=True)
            try:
                if response.next_request is None:
                    return await _body(response)
                request = self._followed(response.next_request)
            finally:
                await response.aclose()
        raise UnreadError("redirects go round in circles")

    def _followed(self, request: httpx.Request) -> httpx.Request:
        """Return the request after a redirect: never to others, who would get the headers."""
        there, here = request.url, self._url
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            raise UnreadError(f"it redirects to {printable(str(there))}: if that is right, name it")
        return request


async def _body(response: httpx.Response) -> bytes:
    if response.status_code != HTTPStatus.OK:
        raise UnreadError(_refusal(response.status_code))
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        shown = printable(kind) or "no content type"
        raise UnreadError(f"it answers with {shown}, not JSON: name the path of a CircuitsApp")
    return await response.aread()


def _refusal(status: int) -> str:
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return f"it answers {status}: it wants a header such as Authorization, see --header"
        case HTTPStatus.NOT_FOUND:
            return "it answers 404: there is no CircuitsApp at this path"
        case _:
            return f"it answers {status}"


def _reason(error: BaseException) -> str:
    """Return what the operating system, or TLS, says; or the error itself, if they say nothing."""
    told = str(error) or type(error).__name__
    behind: BaseException | None = error
    while behind is not None:
        match behind:
            case ssl.SSLCertVerificationError():
                told = f"TLS: {behind.verify_message}"
            case ssl.SSLError():
                told = f"TLS: {behind.reason}"
            case OSError(errno=int(number)) if number > 0:
                told = os.strerror(number)
            case OSError(strerror=str(text)):  # there is no host of this name
                told = text
            case _:
                pass
        behind = _behind(behind)
    return printable(told)


def _behind(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.exceptions[0]
    return error.__cause__ or error.__context__


def new_client(plan: Plan, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return a client that sends the plan's headers; without a transport, by the network.

    Raises:
        TopError: the environment has proxies or certificates that it cannot use.
    """
    headers = [("Accept", "application/json"), *plan.headers]
    try:
        # `PATIENCE` is all the time there is.
        return httpx.AsyncClient(headers=headers, timeout=None, transport=transport)  # noqa: S113
    except (ImportError, OSError, ValueError) as error:
        raise TopError(f"a proxy or certificate of the environment is of no use: {error}") from None


def addresses_of(plan: Plan) -> Sequence[httpx.URL]:
    """Return where to ask.

    Raises:
        TopError: one of them is no address.
    """
    return [_address(url) for url in plan.urls]


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise TopError(f"{text!r} is no address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise TopError(f"{text!r} is no address such as http://127.0.0.1:8000/circuits/")
    return url
