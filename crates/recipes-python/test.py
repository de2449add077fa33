"""Python's context variables and those of Rust, current together across awaits in both directions."""

import asyncio
import contextvars
import os
import sys
import unittest

import recipes_python
from recipes_python import tenant

# One that Rust knows nothing of.
request_id = contextvars.ContextVar("request_id")


class Meeting:
    """Where tasks wait for each other, each time they come."""

    def __init__(self, size):
        self.size = size
        self.here = 0
        self.all_here = asyncio.Event()

    async def wait(self):
        all_here = self.all_here
        self.here += 1
        if self.here == self.size:
            self.here = 0
            self.all_here = asyncio.Event()
            all_here.set()
        await all_here.wait()


class Both(unittest.IsolatedAsyncioTestCase):
    async def test_two_tenants_meet_in_rust_and_python(self):
        meeting = Meeting(2)

        async def python():
            before = tenant.get(), request_id.get()
            # The other tenant's call is here too, while Rust polls tasks of both.
            await meeting.wait()
            self.assertEqual(before, (tenant.get(), request_id.get()))
            # Neither Rust nor the next call sees this.
            tenant.set("set by Python")
            return f"{before[0]} {before[1]}"

        async def request(name, number):
            tenant.set(name)
            request_id.set(number)
            seen = await recipes_python.report(python)
            self.assertEqual((tenant.get(), request_id.get()), (name, number))
            self.assertEqual(recipes_python.call_rust(), name)
            return seen

        for _ in range(20):
            seen = await asyncio.gather(request("acme", 1), request("umbrella", 2))
            for name, number, seen in [("acme", 1, seen[0]), ("umbrella", 2, seen[1])]:
                python_saw = f"{name} {number}"
                expected = [name, python_saw, name, name, python_saw, f"set by Rust {number}"]
                self.assertEqual(seen, expected)
        self.assertIsNone(tenant.get(None))

    async def test_an_exception_goes_through_both(self):
        async def fails():
            raise ValueError(tenant.get())

        tenant.set("acme")
        with self.assertRaisesRegex(ValueError, "^acme$"):
            await recipes_python.report(fails)
        self.assertEqual(recipes_python.call_rust(), "acme")

    async def test_a_cancelled_task_is_dropped_in_its_context(self):
        tenant.set("acme")
        endless, told = recipes_python.endless()
        tenant.set("umbrella")
        endless.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await endless
        self.assertEqual(await told, "acme")

    async def test_without_the_recipe_there_is_nobody(self):
        tenant.set("acme")
        self.assertEqual(await recipes_python.bare(), "nobody")


if __name__ == "__main__":
    ok = unittest.main(exit=False).result.wasSuccessful()
    sys.stderr.flush()
    # Threads of tokio may still hold the interpreter, which must not be taken down under them: that
    # crashes also where the module does nothing but answer.
    os._exit(not ok)
