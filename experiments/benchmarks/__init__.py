"""What `experiments/benchmark.py` measures: see there."""

import os

# PyTorch's profiler, which here only adds up memory, is talkative otherwise. PyTorch reads these
# when it is imported, which tensorboardX does too.
os.environ.setdefault("KINETO_LOG_LEVEL", "9")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
# Of a GPU's memory jax takes three quarters when it starts, and PyTorch needs some in this process.
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
