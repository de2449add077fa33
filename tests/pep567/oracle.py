"""Runs programs on CPython's contextvars and reports what they saw.

Reads a JSON list of programs from standard input, and writes the list of their traces, lists of lines, to
standard output. `program.rs` tells what a program is made of.
"""

import contextvars
import json
import os
import sys
import threading
import traceback

CONTEXTS = 4
DEFAULTS = {2: {"default": -1}, 3: {"default": None}}


class Failure(Exception):
    """Raised by a step, on purpose."""


class Value:
    """A number whose lifetime is watched."""

    alive = 0

    def __init__(self, number):
        self.number = number
        Value.alive += 1

    def __del__(self):
        Value.alive -= 1

    def __str__(self):
        return str(self.number)


def current(variable):
    try:
        return str(variable.get())
    except LookupError:
        return "LookupError"


def bindings(context):
    items = sorted(f"{variable.name}={value}" for variable, value in context.items())
    return " ".join([f"{len(context)}:", *items])


def in_thread(function, *args):
    """Calls the function in a new thread, and fails if it does."""

    def call():
        try:
            function(*args)
        except Failure:
            failed.append(True)
        except Exception:
            stop()

    failed = []
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if failed:
        raise Failure


def stop():
    """Ends the process, in which other threads may wait for this one, because of an error."""
    traceback.print_exc()
    os._exit(1)


class Run:
    """One run of a program. The methods from `get` on are the operations."""

    def __init__(self, program):
        self.actors = program["actors"]
        self.steps = program["steps"]
        self.at = 0
        self.ended = 0
        self.turns = [threading.Semaphore(0) for _ in range(self.actors)]
        self.variables = [
            contextvars.ContextVar(f"v{number}", **DEFAULTS.get(number, {}))
            for number in range(program["variables"])
        ]
        self.contexts = [contextvars.Context() for _ in range(CONTEXTS)]
        self.tokens = []
        self.trace = []

    def complete(self):
        threads = [
            threading.Thread(target=self.act, args=(actor,)) for actor in range(self.actors)
        ]
        for thread in threads:
            thread.start()
        self.turns[self.steps[0]["actor"]].release()
        for thread in threads:
            thread.join()
        self.trace += [bindings(context) for context in self.contexts]
        self.trace.append(self.drop_tokens())
        self.contexts.clear()
        self.trace.append(self.drop_tokens())
        return self.trace

    def act(self, actor):
        self.turns[actor].acquire()
        while True:
            try:
                self.frame(actor, 0)
            except Failure:
                event = "caught"
            except Exception:
                stop()
            else:
                break
            self.log(actor, 0, event)
        self.ended += 1
        if self.ended < self.actors:
            self.turns[self.ended].release()

    def next(self, actor):
        """The operation of the actor's next step, when it is its turn; None in the end."""
        # In the end, one after the other leaves its frames.
        over = self.at >= len(self.steps)
        ready = self.ended if over else self.steps[self.at]["actor"]
        if ready != actor:
            self.turns[ready].release()
            self.turns[actor].acquire()
        if self.at < len(self.steps):
            return self.steps[self.at]["operation"]
        return None

    def log(self, actor, depth, event):
        """Ends a step."""
        self.trace.append(f"{actor}.{depth} {event}")
        self.at += 1

    def frame(self, actor, depth):
        while True:
            operation = self.next(actor)
            if operation is None:
                return
            ((name, arguments),) = operation.items()
            if name == "enter":
                self.enter(actor, depth, **arguments)
            elif name == "raise":
                raise Failure
            elif name != "leave":
                self.log(actor, depth, getattr(self, name)(**arguments))
            elif depth > 0:
                return
            else:
                self.log(actor, depth, "outside")

    def enter(self, actor, depth, place, catches):
        def inside():
            nonlocal entered
            entered = True
            self.log(actor, depth + 1, f"entered {self.values()}")
            self.frame(actor, depth + 1)

        entered = False
        try:
            self.run_in(place, inside)
        except Failure:
            if not catches:
                raise
            event = "caught"
        except RuntimeError as error:
            if entered or "already entered" not in str(error):
                raise
            event = "RuntimeError: already entered"
        else:
            event = "left"
        if entered:
            event += f" {self.values()}"
        self.log(actor, depth, event)

    def run_in(self, place, inside):
        ((kind, argument),) = place.items()
        if kind == "context":
            self.contexts[argument].run(inside)
        elif kind in ("copy_of", "copy_of_current"):
            if kind == "copy_of":
                context = self.contexts[argument["from"]].copy()
            else:
                context = contextvars.copy_context()
            try:
                context.run(inside)
            finally:
                self.contexts[argument["into"]] = context
        else:
            inherits = kind == "inheriting_thread"
            call = [contextvars.copy_context().run, inside] if inherits else [inside]
            in_thread(*call)

    def values(self):
        return " ".join(current(variable) for variable in self.variables[:4])

    def token(self, back):
        """The index of a token."""
        return len(self.tokens) - 1 - back % len(self.tokens)

    def get(self, variable):
        return current(self.variables[variable])

    def get_or(self, variable, fallback):
        return str(self.variables[variable].get(fallback))

    def set(self, variable, value):
        value = None if value is None else Value(value)
        self.tokens.append(self.variables[variable].set(value))
        return self.old(0)

    def reset(self, back, variable):
        if not self.tokens:
            return "no token"
        at = self.token(back)
        if self.tokens[at] is None:
            return "RuntimeError: used"
        token = self.tokens[at]
        variable = token.var if variable is None else self.variables[variable]
        try:
            variable.reset(token)
        except ValueError as error:
            if "different ContextVar" in str(error):
                return "ValueError: different variable"
            if "different Context" in str(error):
                return "ValueError: different context"
            raise
        try:
            variable.reset(token)
        except RuntimeError:
            # As CPython says, it is used.
            self.tokens[at] = None
        return current(variable)

    def old(self, back):
        if not self.tokens:
            return "no token"
        token = self.tokens[self.token(back)]
        if token is None:
            return "used"
        missing = token.old_value is contextvars.Token.MISSING
        return f"{token.var.name} {'MISSING' if missing else token.old_value}"

    def drop_tokens(self):
        # As long as there are tokens, they keep the contexts alive in which they were made. (Not in Rust: TK-15.)
        self.tokens.clear()
        return f"{Value.alive} alive"

    def look(self, context, variable):
        context, variable = self.contexts[context], self.variables[variable]
        try:
            value = context[variable]
        except KeyError:
            value = "KeyError"
        return f"{value} {variable in context}"

    def list(self, context):
        return bindings(self.contexts[context])

    def list_current(self):
        return bindings(contextvars.copy_context())

    def new(self, into):
        self.contexts[into] = contextvars.Context()
        return "new"

    def alias(self, **numbers):
        self.contexts[numbers["into"]] = self.contexts[numbers["from"]]
        return "the same"

    def copy(self, **numbers):
        self.contexts[numbers["into"]] = self.contexts[numbers["from"]].copy()
        return "copied"

    def copy_current(self, into):
        self.contexts[into] = contextvars.copy_context()
        return "copied"

    def same(self, left, right):
        return str(self.contexts[left] is self.contexts[right])


if __name__ == "__main__":
    json.dump([Run(program).complete() for program in json.load(sys.stdin)], sys.stdout)
