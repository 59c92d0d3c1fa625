"""Eight host devices for every test, and programs that are compiled fast, once for each worker.

The environment must be set before jax starts its backend; whatever tests start inherits it.

`pytest -m accelerator` is for a machine that may have little more than jax: no other file is
imported, one process has the accelerator, and programs are compiled as users run them.
"""

import importlib.metadata
import os
import pathlib
import shutil
import signal
import tempfile

os.environ["JAX_NUM_CPU_DEVICES"] = "8"

# Tests stop runs and start them again: without a cache half of their time goes into compiling the
# same programs. Each of pytest-xdist's workers has its own, since an entry is not written at once.
_cache = tempfile.mkdtemp(prefix="jaxgan-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
# Tests start processes that share a GPU with them, of which jax would take three quarters at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Folders of pictures are decoded there, and not into the user's cache.
os.environ["JAXGAN_CACHE_DIR"] = os.path.join(_cache, "decoded")
# What a shell starts in the background ignores Ctrl-C, and so would the programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

import jax
import pytest

# These train for long: with the programs that users run.
_OPTIMISED = {"test_theory", "test_classifier"}


def _as_users_run(config):
    return config.option.markexpr in ("slow", "accelerator")


def pytest_ignore_collect(collection_path, config):
    """To import the other files takes packages that a machine with an accelerator may lack."""
    if config.option.markexpr == "accelerator" and collection_path.suffix == ".py":
        return True if collection_path.name != "test_accelerator.py" else None
    return None


def pytest_xdist_auto_num_workers(config):
    """One process: a second one would find the accelerator taken. None: as many as cores."""
    return 0 if config.option.markexpr == "accelerator" else None


def pytest_configure(config):
    """Each program is compiled in one piece, which takes less of two cores' time in all.

    Without XLA's fusion emitters it takes three fifths of the time; versions of jaxlib from 0.11 on
    know no such flag, and end at it. Sets that are chosen by name have the programs that users run.
    """
    if _as_users_run(config):
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

    So too in the processes that tests start, which are compared bit by bit with their own. Sets
    that are chosen by name have the programs that users run.
    """
    fast = not _as_users_run(request.config) and request.module.__name__ not in _OPTIMISED
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(fast)))
        jax.config.update("jax_disable_most_optimizations", fast)
        yield
        jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # or a worker ends with 7 GB of programs


@pytest.fixture(autouse=True, scope="session")
def _measure_shortly():
    """The cost of a run is measured by three steps."""
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
