"""Which async client: botocore's in threads, or aioboto3? Decision 0017.

    python -m suites.bench.async_doors [--threads 10 64] [--latency-ms 50]

Run it once in the project's environment (threads), once in one that has aioboto3, for it pins
another botocore. The service is ours, in a process of its own, and answers after the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

MODEL = "amazon.titan-embed-text-v2:0"
CALLS = 600
IN_FLIGHT = 64


class Ready:
    """One body for all: what is measured is the client."""

    def __init__(self) -> None:
        body = {"embedding": [0.0123456789] * 1024, "inputTextTokenCount": 5}
        self._body = json.dumps(body).encode()

    def answer(self, model_id: str, body: bytes) -> Any:
        from fixtures.titan.answers import Answer

        return Answer(body=self._body, token_count=5)


def serve(latency_s: float, pipe: Connection) -> None:
    from fixtures.titan.wire import titan_server

    with titan_server(Ready(), latency_s=latency_s) as wire:
        pipe.send(wire.url)
        pipe.recv()


def arguments_of(place: int) -> dict[str, str]:
    return {"modelId": MODEL, "body": json.dumps({"inputText": f"text {place}"})}


CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


async def all_of(one: Callable[[int], Coroutine[Any, Any, None]]) -> float:
    """Seconds for all calls, so many under way at a time."""
    room = asyncio.Semaphore(IN_FLIGHT)

    async def limited(place: int) -> None:
        async with room:
            await one(place)

    begin = time.perf_counter()
    await asyncio.gather(*(limited(place) for place in range(CALLS)))
    return time.perf_counter() - begin


def with_threads(url: str, threads: int) -> Callable[[], float]:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        config=Config(max_pool_connections=threads),
        **CREDENTIALS,
    )
    pool = ThreadPoolExecutor(threads)

    def call(place: int) -> None:
        client.invoke_model(**arguments_of(place))["body"].read()

    async def one(place: int) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, call, place)

    return lambda: asyncio.run(all_of(one))


def with_aioboto3(url: str) -> Callable[[], float] | None:
    try:
        import aioboto3
        from aiobotocore.config import AioConfig
    except ImportError:
        return None

    async def run() -> float:
        session = aioboto3.Session()
        async with session.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            config=AioConfig(max_pool_connections=IN_FLIGHT),
            **CREDENTIALS,
        ) as client:

            async def one(place: int) -> None:
                found = await client.invoke_model(**arguments_of(place))
                await found["body"].read()

            await all_of(one)  # connections, models, credentials
            return await all_of(one)

    return lambda: asyncio.run(run())


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[10, 64])
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(given.latency_ms / 1_000, there))
    server.start()
    url = here.recv()
    ways: dict[str, Callable[[], float] | None] = {
        f"{count} threads": with_threads(url, count) for count in given.threads
    }
    ways["aioboto3"] = with_aioboto3(url)
    try:
        for turn in range(given.turns):
            for name, way in ways.items():
                if way is None:
                    continue
                if not turn:
                    way()
                before = cpu_s()
                seconds = way()
                runs = 2 if name == "aioboto3" else 1  # it warms up inside
                used_ms = 1e3 * (cpu_s() - before) / CALLS / runs
                print(f"{name:12} {CALLS / seconds:7.0f} calls/s  {used_ms:6.2f} ms CPU a call")  # noqa: T201
    finally:
        here.send("end")
        server.join()


if __name__ == "__main__":
    main()
