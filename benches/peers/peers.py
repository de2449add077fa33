"""Takes samples of CPython's contextvars and of event loops, when asked on standard input.

`has PEER` is answered by `yes` or `no`, and `sample PEER WHAT VARIABLES N` by the nanoseconds that N operations took.
"""

import asyncio
import contextvars
import importlib.util
import itertools
import sys
import time

now = time.perf_counter_ns
ID = contextvars.ContextVar("id")
DEFAULT = contextvars.ContextVar("default", default=7)
UNSET = contextvars.ContextVar("unset")
OTHERS = [contextvars.ContextVar(f"other {n}") for n in range(100)]


def nothing():
    pass


def get(n):
    get = ID.get
    start = now()
    for _ in itertools.repeat(None, n):
        get()
    return now() - start


def get_default(n):
    get = DEFAULT.get
    start = now()
    for _ in itertools.repeat(None, n):
        get()
    return now() - start


def get_unset(n):
    get = UNSET.get
    start = now()
    for _ in itertools.repeat(None, n):
        get(None)
    return now() - start


def get_after_switch(n):
    contexts = [contextvars.copy_context() for _ in range(2)]
    get = ID.get
    start = now()
    for context in itertools.islice(itertools.cycle(contexts), n):
        context.run(get)
    return now() - start


def set(n):
    set = ID.set
    start = now()
    for value in range(n):
        set(value)
    return now() - start


def set_after_snapshot(n):
    set, copy = ID.set, contextvars.copy_context
    start = now()
    for value in range(n):
        kept = copy()
        set(value)
    return now() - start


def set_reset(n):
    set, reset = ID.set, ID.reset
    start = now()
    for value in range(n):
        reset(set(value))
    return now() - start


def snapshot(n):
    copy = contextvars.copy_context
    start = now()
    for _ in itertools.repeat(None, n):
        copy()
    return now() - start


def run(n):
    run = contextvars.copy_context().run
    start = now()
    for _ in itertools.repeat(None, n):
        run(nothing)
    return now() - start


def call_soon(loop, n):
    """One callback schedules the next."""
    left = n

    def call():
        nonlocal left
        if left:
            left -= 1
            loop.call_soon(call)
        else:
            loop.stop()

    loop.call_soon(call)
    start = now()
    loop.run_forever()
    return now() - start


def call_soon_burst(loop, n):
    """A hundred callbacks at a time."""

    times = max(n // 100, 1)

    async def bursts():
        start = now()
        for _ in range(times):
            for _ in range(100):
                loop.call_soon(nothing)
            await asyncio.sleep(0)
        return now() - start

    return loop.run_until_complete(bursts()) * n / (times * 100)


def timer(loop, n):
    """A hundred timers at a time, added and cancelled."""

    times = max(n // 100, 1)

    async def timers():
        start = now()
        for _ in range(times):
            for _ in range(100):
                loop.call_later(3600, nothing).cancel()
            await asyncio.sleep(0)
        return now() - start

    return loop.run_until_complete(timers()) * n / (times * 100)


def spawn(loop, n):
    async def task():
        await asyncio.sleep(0)

    async def tasks():
        start = now()
        for _ in range(n):
            await loop.create_task(task())
        return now() - start

    return loop.run_until_complete(tasks())


def to_thread(loop, n):
    async def jobs():
        start = now()
        for _ in range(n):
            await asyncio.to_thread(nothing)
        return now() - start

    return loop.run_until_complete(jobs())


def new_event_loop(peer):
    if peer == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


LOOPS = {}


def sample(peer, what, variables, n):
    ID.set(7)
    for other in OTHERS[: variables - 1]:
        other.set(7)
    function = globals()[what]
    if peer == "contextvars":
        return function(n)
    if peer not in LOOPS:
        LOOPS[peer] = new_event_loop(peer)
    return function(LOOPS[peer], n)


for line in sys.stdin:
    question, peer, *rest = line.split()
    if question == "has":
        found = peer != "uvloop" or importlib.util.find_spec(peer) is not None
        print("yes" if found else "no", flush=True)
    else:
        what, variables, n = rest
        context = contextvars.Context()
        print(context.run(sample, peer, what, int(variables), int(n)), flush=True)
