"""How large a data set the devices keep in their own memory."""

from collections.abc import Sequence

import jax

from jaxgan.data.images import memory

# Where a device has no memory of its own, as a CPU, the copy there takes from the host's.
SHARED_BYTES = 2**30
SHARE = 1 / 4


def device_bytes(devices: Sequence[jax.Device]) -> int:
    """The bytes up to which a data set is kept whole on each of these devices.

    A quarter of what the smallest of them lets JAX use: networks, optimizers and activations have
    the rest. At most a quarter of this machine's memory too, since a set on disk passes through it.
    1 GiB for a device that does not say its memory, as a CPU.

    Args:
      devices: those that get a copy each. Another process's are its own to look at.
    """
    own = [device for device in devices if device.process_index == jax.process_index()]
    stats = [device.memory_stats() or {} for device in own]
    if not all("bytes_limit" in each for each in stats):
        return SHARED_BYTES
    return int(SHARE * min(memory(), *(each["bytes_limit"] for each in stats)))
