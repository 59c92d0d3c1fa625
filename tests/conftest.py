"""Eight host devices for every test, and a cache of compiled programs for the processes it starts.

Both must be set before jax starts its backend; whatever tests start inherits them.
"""

import os
import shutil
import tempfile

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

# Tests stop runs and start them again: without a cache half of their time goes into compiling the
# same programs. Each of pytest-xdist's workers has its own, since an entry is not written at once.
_cache = tempfile.mkdtemp(prefix="jaxgan-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"


def pytest_unconfigure(config):
    shutil.rmtree(_cache, ignore_errors=True)
