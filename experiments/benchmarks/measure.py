"""Measuring in turns, so that a machine whose speed drifts is as slow for one as for the other.

One process holds two thread pools. PyTorch's OpenMP threads spin on after their last work, on cores
that the next one needs: 7.5 ms of processor time were seen to go after a product of 1024x1024
matrices on two cores, and 0.05 ms after XLA's. So each turn begins with a pause that is longer, and
with a tenth of its length untimed, to warm the caches again. `--against=none` measures jaxgan where
PyTorch has never run.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

ROUNDS = 5
PAUSE = 0.02


def alternate(
    runs: Mapping[str, Callable[[int], None]],
    seconds: Mapping[str, float],
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[float]]:
    """Measures iterations per second, in rounds in which everyone has a turn.

    Args:
      runs: `run(n)` of each does n iterations and waits for them.
      seconds: for each, the time to spend on it over all rounds.
      clock: tells seconds.
      sleep: lets seconds pass.

    Returns:
      For each, its rate in each round. Who cannot do an iteration a round within its time takes
      part in fewer of them; who cannot do even one within it has the rate of that one only.
    """

    def timed(name, n):
        began = clock()
        runs[name](n)
        return clock() - began

    rates: dict[str, list[float]] = {name: [] for name in runs}
    lengths, rounds = {}, {}
    for name in runs:
        n, took = 1, timed(name, 1)
        if took > seconds[name]:
            rates[name].append(1 / took)
        while took < seconds[name] / (4 * ROUNDS):
            n *= 2
            took = timed(name, n)
        lengths[name] = max(1, round(n * seconds[name] / ROUNDS / took))
        rounds[name] = min(ROUNDS, int(seconds[name] * n / took))
    for turn in range(ROUNDS):
        names = [name for name in runs if turn < rounds[name]]
        start = turn % len(names) if names else 0
        for name in names[start:] + names[:start]:  # nobody always follows the same one
            n = lengths[name]
            sleep(PAUSE)
            if n >= 10:
                runs[name](n // 10)
            rates[name].append(n / timed(name, n))
    return rates


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Median, extremes and number of the values."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "rounds": len(values),
    }


def divide(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """a/b round by round, or of the medians where one of them missed rounds."""
    if len(a) != len(b):
        a, b = [statistics.median(a)], [statistics.median(b)]
    return [x / y for x, y in zip(a, b, strict=True)]


def fastest(rates: Sequence[Sequence[float]]) -> list[float]:
    """The highest rate of each round, or of the medians where one of them missed rounds."""
    if len({len(each) for each in rates}) > 1:
        rates = [[statistics.median(each)] for each in rates]
    return [max(each) for each in zip(*rates, strict=True)]
