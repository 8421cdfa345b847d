"""Requests that are answered together have the answers that they would have alone."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fundus_diag.serve.batcher import Batcher, Busy


def with_batcher(function, ask, **settings):
    """What the coroutine `ask` gives of a batcher."""
    settings = {"max_batch": 4, "wait": 0.02, "max_waiting": 100, **settings}

    async def run():
        with ThreadPoolExecutor(4) as pool:
            batcher = Batcher(function, pool, **settings)
            try:
                return await asyncio.wait_for(ask(batcher), 20)
            finally:
                await batcher.close()

    return asyncio.run(run())


def doubling(sizes):
    def double(inputs):
        sizes.append(len(inputs["x"]))
        return {"y": 2 * inputs["x"], "name": inputs["name"]}

    return double


def rows(start, count):
    return {
        "x": np.arange(start, start + count),
        "name": np.array([b"%d" % k for k in range(start, start + count)], object),
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_each_request_gets_its_own_rows(workers):
    sizes, counts = [], [1, 2, 1, 3, 7, 1, 1, 1, 4, 2]
    starts = np.cumsum([0, *counts[:-1]])

    async def ask(batcher):
        sent = [rows(*x) for x in zip(starts, counts, strict=True)]
        return sent, await asyncio.gather(*map(batcher, sent))

    sent, found = with_batcher(doubling(sizes), ask, workers=workers)
    for one, answer in zip(sent, found, strict=True):
        assert answer["y"].tolist() == (2 * one["x"]).tolist()
        assert answer["name"].tolist() == one["name"].tolist()
    assert sum(sizes) == sum(counts)
    assert len(sizes) < len(counts)  # some went together
    assert max(size for size in sizes if size != 7) <= 4  # the one of seven goes alone


def test_a_lone_request_waits_no_longer_than_asked():
    sizes = []
    found = with_batcher(doubling(sizes), lambda batcher: batcher(rows(5, 1)), wait=0.0)
    assert found["y"].tolist() == [10]


def test_one_that_fails_fails_alone():
    def fussy(inputs):
        if (inputs["x"] == 3).any():
            raise ValueError("three")
        return {"y": inputs["x"]}

    async def ask(batcher):
        return await asyncio.gather(
            *(batcher({"x": np.array([k])}) for k in range(6)), return_exceptions=True
        )

    found = with_batcher(fussy, ask)
    assert [str(x) if isinstance(x, ValueError) else int(x["y"][0]) for x in found] == [
        0, 1, 2, "three", 4, 5,
    ]  # fmt: skip


def test_no_more_than_so_many_wait_and_those_are_answered():
    free = threading.Event()

    def slow(inputs):
        free.wait(10)
        return {"y": inputs["x"]}

    async def ask(batcher):
        first = [asyncio.create_task(batcher({"x": np.array([k])})) for k in range(6)]
        await asyncio.sleep(0.1)  # one is computed, the second batch is not begun
        more = [asyncio.create_task(batcher({"x": np.array([k])})) for k in range(6, 12)]
        await asyncio.sleep(0.1)
        refused = [x for x in (*first, *more) if x.done()]
        assert all(isinstance(x.exception(), Busy) for x in refused)
        free.set()
        kept = [x for x in (*first, *more) if x not in refused]
        return len(refused), [int(x["y"][0]) for x in await asyncio.gather(*kept)]

    refused, kept = with_batcher(slow, ask, max_batch=1, max_waiting=3)
    assert refused >= 6
    assert kept == sorted(kept)
    assert len(kept) + refused == 12


def test_a_client_that_is_gone_is_not_computed_for():
    sizes, free = [], threading.Event()

    def slow(inputs):
        free.wait(10)
        sizes.append(len(inputs["x"]))
        return {"y": inputs["x"]}

    async def ask(batcher):
        first = asyncio.create_task(batcher({"x": np.array([0])}))
        await asyncio.sleep(0.1)
        gone, stays = (asyncio.create_task(batcher({"x": np.array([k])})) for k in (1, 2))
        await asyncio.sleep(0.05)
        gone.cancel()
        free.set()
        return (await first)["y"].tolist(), (await stays)["y"].tolist()

    assert with_batcher(slow, ask, max_batch=1) == ([0], [2])
    assert sizes == [1, 1]
