"""Measures chained call_soon on asyncio's and uvloop's event loops, when asked on standard input.

`has PEER` is answered by `yes` or `no`, and `sample PEER` by nanoseconds for each call.
"""

import asyncio
import contextvars
import importlib.util
import sys
import time

CALLS = int(sys.argv[1])

contextvars.ContextVar("request_id").set(7)


def sample(peer):
    if peer == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    left = CALLS

    def call():
        nonlocal left
        if left:
            left -= 1
            loop.call_soon(call)
        else:
            loop.stop()

    loop.call_soon(call)
    start = time.perf_counter_ns()
    loop.run_forever()
    nanoseconds = (time.perf_counter_ns() - start) / CALLS
    loop.close()
    return nanoseconds


for line in sys.stdin:
    question, peer = line.split()
    if question == "has":
        found = peer == "asyncio" or importlib.util.find_spec(peer) is not None
        print("yes" if found else "no", flush=True)
    else:
        print(sample(peer), flush=True)
