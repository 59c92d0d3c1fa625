"""Eight host devices for every test, and programs that are compiled fast and only once.

All must be set before jax starts its backend; whatever tests start inherits them, unless it sets
its own flags.
"""

import os
import shutil
import tempfile

# Most programs here run for an instant and are compiled for seconds: LLVM need not optimise them.
# Given flags come last, and win.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    + os.environ.get("XLA_FLAGS", "")
)

# Tests stop runs and start them again: without a cache half of their time goes into compiling the
# same programs. Each of pytest-xdist's workers has its own, since an entry is not written at once.
_cache = tempfile.mkdtemp(prefix="jaxgan-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"


def pytest_unconfigure(config):
    shutil.rmtree(_cache, ignore_errors=True)
