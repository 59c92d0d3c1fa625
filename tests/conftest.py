"""Eight host devices for every test, and one cache of compiled programs for all processes of a run.

Both must be set before jax starts its backend; whatever tests start inherits them.
"""

import os
import shutil
import tempfile

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

# Tests stop runs and start them again: without a cache half of their time goes into compiling the
# same programs. It is new for each run of the tests, in which pytest-xdist's workers share it.
_own_cache = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _own_cache = tempfile.mkdtemp(prefix="jaxgan-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _own_cache
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")


def pytest_unconfigure(config):
    if _own_cache:
        shutil.rmtree(_own_cache, ignore_errors=True)
