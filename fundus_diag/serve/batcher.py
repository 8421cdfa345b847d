"""Requests of several clients, answered together: a network takes sixteen rows hardly slower."""

import asyncio

import numpy as np


class Busy(Exception):
    """So much is waiting already that no more is taken."""


class Batcher:
    """Answers requests by a function that takes many rows at once, in threads of its own.

    A request waits a little for others to come; what waits longer than one batch takes is answered
    with the next one. Rows are told apart by their order alone: `function` has to answer each as it
    would alone.

    Args:
        function: dict of arrays, B rows each, to dict of arrays, B rows each.
        pool: executor in which it runs.
        max_batch: rows that are put together; a request with more of them goes alone.
        wait: how long a batch waits for more, seconds.
        max_waiting: requests that may wait.
        workers: batches side by side, so that one is decoded while another is computed.
    """

    def __init__(self, function, pool, max_batch, wait, max_waiting, workers=1):
        self.function, self.pool = function, pool
        self.max_batch, self.wait, self.max_waiting = max_batch, wait, max_waiting
        self.waiting = asyncio.Queue()
        self.tasks = [asyncio.create_task(self._work()) for _ in range(workers)]

    async def __call__(self, inputs):
        """The rows of `function` for `inputs`.

        Raises:
            Busy: `max_waiting` requests are waiting already.
        """
        if self.waiting.qsize() >= self.max_waiting:
            raise Busy
        job = inputs, asyncio.get_running_loop().create_future()
        self.waiting.put_nowait(job)
        return await job[1]

    async def close(self):
        """Ends the workers; what is still waiting is never answered."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _work(self):
        loop, next_one = asyncio.get_running_loop(), None
        while True:
            jobs = [next_one or await self.waiting.get()]
            rows, next_one, end = _rows(jobs[0]), None, loop.time() + self.wait
            while rows < self.max_batch:
                try:
                    job = await asyncio.wait_for(self.waiting.get(), max(0, end - loop.time()))
                except TimeoutError:
                    break
                if rows + _rows(job) > self.max_batch:
                    next_one = job
                    break
                jobs.append(job)
                rows += _rows(job)
            jobs = [job for job in jobs if not job[1].done()]  # without clients that are gone
            if jobs:
                await self._answer(jobs)

    async def _answer(self, jobs):
        loop = asyncio.get_running_loop()
        merged = {name: np.concatenate([inputs[name] for inputs, _ in jobs]) for name in jobs[0][0]}
        try:
            found = await loop.run_in_executor(self.pool, self.function, merged)
        except Exception as error:
            if len(jobs) > 1:  # whose fault it was is not known
                for job in jobs:
                    await self._answer([job])
            elif not jobs[0][1].done():
                jobs[0][1].set_exception(error)
            return
        ends = np.cumsum([_rows(job) for job in jobs])[:-1]
        parts = {name: np.split(rows, ends) for name, rows in found.items()}
        for k, (_, future) in enumerate(jobs):
            if not future.done():
                future.set_result({name: rows[k] for name, rows in parts.items()})


def _rows(job):
    return len(next(iter(job[0].values())))
