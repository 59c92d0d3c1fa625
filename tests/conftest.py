"""Eight host devices for every test, and programs that are compiled fast, once for each worker.

The environment must be set before jax starts its backend; whatever tests start inherits it.
"""

import importlib.metadata
import os
import pathlib
import shutil
import tempfile

os.environ["JAX_NUM_CPU_DEVICES"] = "8"

# Tests stop runs and start them again: without a cache half of their time goes into compiling the
# same programs. Each of pytest-xdist's workers has its own, since an entry is not written at once.
_cache = tempfile.mkdtemp(prefix="jaxgan-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"

import jax
import pytest

# These train for long: with the programs that users run.
_OPTIMISED = {"test_theory", "test_classifier"}


def pytest_configure(config):
    """Each program is compiled in one piece, which takes less of two cores' time in all.

    Without XLA's fusion emitters it takes three fifths of the time; versions of jaxlib from 0.11 on
    know no such flag, and end at it. The slow set has the programs that users run.
    """
    if config.option.markexpr == "slow":
        return
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_parallel_codegen_split_count=1"]
    if importlib.metadata.version("jaxlib").startswith(("0.8.", "0.9.", "0.10.")):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(flags)


# The files that take longest go first, so that no worker is left with one at the end.
_LONG = ("test_train", "test_survival", "test_theory", "test_fit", "test_evaluate", "test_hosts")


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.module.__name__
        return _LONG.index(name) if name in _LONG else len(_LONG)

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="module")
def _compile_fast(request):
    """Elsewhere programs run for an instant, and LLVM would optimise them for seconds.

    So too in the processes that tests start, which are compared bit by bit with their own. The slow
    set has the programs that users run.
    """
    slow = request.config.option.markexpr == "slow"
    fast = not slow and request.module.__name__ not in _OPTIMISED
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(fast)))
        jax.config.update("jax_disable_most_optimizations", fast)
        yield
        jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # or a worker ends with 7 GB of programs


@pytest.fixture(autouse=True, scope="session")
def _measure_shortly():
    """The cost of a run is measured by one step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.training.cost.SECONDS", 1e-9)
        yield


@pytest.fixture(scope="session")
def real_data():
    """Where a set of real images is prepared; skips the test, saying so, where it is not."""
    beside = pathlib.Path(__file__).parents[2] / "shared" / "data" / "tfds"
    folder = pathlib.Path(os.environ.get("JAXGAN_DATA_DIR", beside))

    def find(name):
        if not (folder / name).is_dir():
            pytest.skip(f"{name} is not prepared in {folder} (set JAXGAN_DATA_DIR)")
        return folder

    return find


def pytest_unconfigure(config):
    shutil.rmtree(_cache, ignore_errors=True)
