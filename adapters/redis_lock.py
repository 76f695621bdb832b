"""Locks among replicas by Redis, or Valkey: leases, renewed while the holder lives.

Redis may forget a lock, and a holder may oversleep the end of its lease; so each holding has a
number from the database, which is not Redis's to lose, and the holder's transaction shows it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NoAnswer
from redis.maint_notifications import MaintNotificationsConfig

from application.ports.lock_manager import Fence, LockManager
from application.settling import settle
from domain.errors import InvalidSettings, LockTimeout, LockUnavailable

_log = logging.getLogger("modelyard.locks")

_ANSWER = 3.0
"""Seconds that Redis has for an answer, or a connection; where it gives none, as many pass before
anybody asks again: else those in line would wait in vain one after another."""
_LOOK = 1.0
"""Seconds after which a waiter looks by itself, should the word that the lock is free be lost."""
_CONNECTIONS = 50
_LOCKS, _WORDS = b"modelyard:lock:", b"modelyard:free:"

# Milliseconds until the lock is free unless its holder renews it; 0 when it was, and is taken. All
# scripts may run twice: after a lost connection they are sent again.
_TAKE = """
if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
if redis.call('get', KEYS[1]) == ARGV[1] then return 0 end
return math.max(redis.call('pttl', KEYS[1]), 1)
"""
_RENEW = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('pexpire', KEYS[1], ARGV[2])
"""
# One word that it is free, for whoever has waited longest.
_FREE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[1], KEYS[2])
redis.call('rpush', KEYS[2], '')
return redis.call('pexpire', KEYS[2], ARGV[2])
"""


class RedisLockManager(LockManager):
    """A key per lock, with a random token: it is renewed and freed by who has the token.

    Those who wait stand in line at a list: who frees the lock puts a word into it, and Redis gives
    that to the one that has waited longest. The lock of a dead holder is free when its lease ends.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        queue: the line within this process: of those who want a name, one asks Redis.
        issue: draws the number of the next holding of a name.
        lease: seconds after which Redis frees the lock of a holder that does not renew it.

    Raises:
        InvalidSettings: the URL is not one.
    """

    def __init__(
        self,
        url: str,
        *,
        queue: LockManager,
        issue: Callable[[str], Awaitable[int]],
        lease: float = 15.0,
    ) -> None:
        self._url = url
        self._queue = queue
        self._issue = issue
        self._lease = lease
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _Client] = WeakKeyDictionary()
        self._silent_until = 0.0
        try:
            _pool(url).make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, RedisError):
            raise InvalidSettings(
                "REDIS_URL: it, or an option in it, is not understood; use "
                "redis://user:password@host:6379/0."
            ) from None

    @asynccontextmanager
    async def hold(self, name: str, *, timeout: float) -> AsyncIterator[Fence | None]:  # noqa: ASYNC109
        """See the port. Where the lease is lost meanwhile, the block goes on, and its fence tells.

        Raises:
            DatabaseUnavailable: no number can be drawn.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        async with self._queue.hold(name, timeout=timeout), AsyncExitStack() as stack:
            client, token = await stack.enter_async_context(self._connected()), uuid4().hex
            while left := await client.take(name, token, stack):
                patience = deadline - client.loop.time()
                if patience <= 0:
                    raise LockTimeout(
                        f"Others were working on this for all of the {timeout:g} seconds waited; "
                        "try again."
                    )
                await client.wait(name, min(left, patience))
            fenced = name.encode(errors="backslashreplace").decode().replace("\0", r"\0")
            yield Fence(fenced, await self._issue(fenced))

    async def check(self) -> None:
        """Takes a lock that nobody else wants."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._connected())
            await client.take(f"check-{uuid4().hex}", "", stack)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Client]:
        """The client of this event loop, which lasts as long as somebody uses it."""
        if time.monotonic() < self._silent_until:
            raise LockUnavailable("Locks cannot be taken: Redis does not answer.")
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = _Client(self._url, self._lease)
        client.users += 1
        try:
            yield client
        except LockUnavailable as error:
            if isinstance(error.__cause__, NoAnswer):
                self._silent_until = time.monotonic() + _ANSWER
            raise
        finally:
            client.users -= 1
            if not client.users:
                del self._clients[loop]
                await settle(asyncio.ensure_future(client.redis.aclose()))


class _Client:
    """The connections of one event loop.

    Attributes:
        users: who holds a lock, or waits for one.
    """

    def __init__(self, url: str, lease: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.redis = Redis.from_pool(_pool(url))
        self.users = 0
        self._lease = lease
        self._milliseconds = round(lease * 1000)
        self._take, self._renew, self._free = map(
            self.redis.register_script, (_TAKE, _RENEW, _FREE)
        )

    async def take(self, name: str, token: str, stack: AsyncExitStack) -> float:
        """Takes the lock if it is free, until the stack ends; else the seconds until it may be.

        Raises:
            LockUnavailable
        """
        return await settle(asyncio.ensure_future(self._try(name, token, stack)))

    async def _try(self, name: str, token: str, stack: AsyncExitStack) -> float:
        milliseconds = await self._run(self._take, name, token)
        if not milliseconds:
            keeping = asyncio.create_task(self._keep(name, token))
            stack.push_async_callback(self._leave, name, token)
            stack.callback(keeping.cancel)
        return milliseconds / 1000

    async def wait(self, name: str, seconds: float) -> None:
        """Until there is word that the lock is free, or it is worth a look.

        Raises:
            LockUnavailable
        """
        seconds = max(0.001, min(seconds, _LOOK))
        waiting = asyncio.ensure_future(self.redis.blpop([_key(name, _WORDS)], timeout=seconds))
        with _translated_failures():
            await settle(waiting, on_cancel=waiting.cancel)

    async def _keep(self, name: str, token: str) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            with suppress(LockUnavailable):
                if not await self._run(self._renew, name, token):
                    _log.warning("The lock %r was lost while it was held", name)
                    return

    async def _leave(self, name: str, token: str) -> None:
        with suppress(LockUnavailable):
            await settle(asyncio.ensure_future(self._run(self._free, name, token)))

    async def _run(self, script: Any, name: str, token: str) -> int:
        with _translated_failures():
            keys = [_key(name), _key(name, _WORDS)]
            return int(await script(keys=keys, args=[token, self._milliseconds]))


def _pool(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_ANSWER,
        socket_timeout=_ANSWER,
        socket_connect_timeout=_ANSWER,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(NotConnected,)),
        # While it listens for these, redis-py does not look whether a connection is still open.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


def _key(name: str, kind: bytes = _LOCKS) -> bytes:
    return kind + name.encode("utf-8", "surrogatepass")


@contextmanager
def _translated_failures() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, RuntimeError) as error:
        # RuntimeError: uvloop, of a connection that closes between being opened and being used.
        raise LockUnavailable(f"Locks cannot be taken: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """For callers from afar: without addresses."""
    if isinstance(error, ResponseError | AuthenticationError):
        return f"Redis says: {str(error).strip().rstrip('.')}"
    if not isinstance(error, NotConnected | OSError | RuntimeError):
        return "Redis does not answer"
    cause = error if isinstance(error, OSError) else error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    return f"Redis cannot be reached{f' ({os.strerror(number)})' if number else ''}"
