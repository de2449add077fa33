"""Runs programs of callbacks on CPython's asyncio and reports what they saw.

Reads a JSON list of programs from standard input, and writes the list of their traces, lists of lines, to
standard output. `program.rs` tells what a program is made of.
"""

import asyncio
import contextvars
import json
import sys

VARIABLES = [
    contextvars.ContextVar("a"),
    contextvars.ContextVar("b"),
    contextvars.ContextVar("c"),
    contextvars.ContextVar("d", default=-1),
]


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own turns, on a clock that jumps to the next deadline instead of waiting for it.

    Time is in whole ticks. asyncio leaves the order of equal deadlines to a heap, which is not stable; here
    each timer is due a nanotick later than the one before it, and those of one tick are due together
    because the clock's resolution is half a tick.
    """

    def __init__(self):
        super().__init__()
        self._clock_resolution = 0.5
        self._selector = self
        self._now = 0
        self._timers = 0

    def time(self):
        return self._now

    def call_at(self, when, callback, *args, context=None):
        self._timers += 1
        return super().call_at(when + self._timers * 1e-9, callback, *args, context=context)

    def select(self, timeout):
        if timeout is None:
            # Nothing is left to run.
            self.stop()
        else:
            self._now += round(timeout)
        return []

    def _process_events(self, event_list):
        pass


class Failure(Exception):
    """Raised by a callback, on purpose."""


def show(value):
    return "-" if value is None else str(value)


def current(variable):
    try:
        return show(variable.get())
    except LookupError:
        return "-"


def values():
    return " ".join(current(variable) for variable in VARIABLES)


class Run:
    """One run of a program. The methods below `call` are the operations."""

    def __init__(self):
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self.handle)
        self.shared = [contextvars.Context(), contextvars.Context()]
        self.handles = []
        self.tokens = []
        self.trace = []

    def complete(self, program):
        self.loop.call_soon(self.call, program["root"], context=contextvars.Context())
        self.loop.run_forever()
        self.loop.close()
        return self.trace

    def log(self, event):
        self.trace.append(f"t={self.loop.time()} #{self.running} {event}")

    def handle(self, _loop, details):
        if not isinstance(details["exception"], Failure):
            self.trace.append(repr(details["exception"]))
        elif sys.version_info >= (3, 12):
            self.log(f"failed {values()}")
        else:
            # Since 3.12 asyncio calls the handler in the callback's context. Before that, look there.
            details["handle"]._context.run(lambda: self.log(f"failed {values()}"))

    def call(self, callback):
        self.running = callback["id"]
        self.log(f"begins {values()}")
        for operation in callback["operations"]:
            ((name, arguments),) = operation.items()
            getattr(self, name)(**arguments)

    def get(self, variable):
        self.log(f"get {variable}: {current(VARIABLES[variable])}")

    def set(self, variable, value):
        self.tokens.append(VARIABLES[variable].set(value))

    def reset(self, back):
        if not self.tokens:
            return
        at = len(self.tokens) - 1 - back % len(self.tokens)
        token = self.tokens[at]
        try:
            token.var.reset(token)
        except ValueError:
            self.log("reset: refused")
        else:
            del self.tokens[at]
            self.log(f"reset: {current(token.var)}")

    def read(self, shared, variable):
        value = self.shared[shared].get(VARIABLES[variable])
        self.log(f"read {shared} {variable}: {show(value)}")

    def schedule(self, when, place, callback):
        context = self.context(place)
        if when == "soon":
            handle = self.loop.call_soon(self.call, callback, context=context)
        elif "later" in when:
            handle = self.loop.call_later(when["later"], self.call, callback, context=context)
        else:
            moment = self.loop.time() + when["at"]
            handle = self.loop.call_at(moment, self.call, callback, context=context)
        self.handles.append((callback["id"], handle))

    def context(self, place):
        if place == "inherited":
            return None
        if place == "new":
            return contextvars.Context()
        ((kind, number),) = place.items()
        shared = self.shared[number]
        return shared if kind == "shared" else shared.copy()

    def cancel(self, back):
        if not self.handles:
            return
        callback, handle = self.handles[-1 - back % len(self.handles)]
        self.log(f"cancel #{callback}")
        handle.cancel()

    def fail(self):
        raise Failure


if __name__ == "__main__":
    json.dump([Run().complete(program) for program in json.load(sys.stdin)], sys.stdout)
