"""Put on a worker's path by the tests of outages: what Python runs first there.

The first worker's clock is an hour ahead, the second's an hour behind; and a variant with a page
limit of ``POISON`` takes the interpreter along, as a fault in compiled code would.
"""

import datetime
import importlib.util
import os
import sys
import time

POISON = 4321
HOUR = 3600
TARGET = "refault.engines.shadow.host"


def shift_clock(seconds):
    real_time, real_time_ns, real_datetime = time.time, time.time_ns, datetime.datetime

    class Shifted(real_datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls):
            return cls.now(datetime.UTC).replace(tzinfo=None)

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + seconds * 10**9
    datetime.datetime = Shifted


def poison(module):
    execute = module.Host.execute

    def execute_or_abort(host, ops, count):
        if host.variant.parameters.page_limit == POISON:
            os.abort()
        execute(host, ops, count)

    module.Host.execute = execute_or_abort


class Poisoner:
    """Finds the module of hosts as everybody does, and changes it once it is loaded."""

    def find_spec(self, name, path=None, target=None):
        del path, target
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_poison(module):
            load(module)
            poison(module)

        spec.loader.exec_module = load_and_poison
        return spec


if "worker-1@%h" in sys.orig_argv:
    shift_clock(HOUR)
if "worker-2@%h" in sys.orig_argv:
    shift_clock(-HOUR)
sys.meta_path.insert(0, Poisoner())
