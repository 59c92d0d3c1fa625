"""Games in which both move at once: max-min, min-max, and mixed strategies between them.

Max picks a row of A, Min a column. Who moves first is worse off: max_i min_j A ≤ min_j max_i A. The
two are equal where A has a saddle point, which a random m×n matrix has with probability
m!n!/(m + n − 1)! (Goldman 1957). If both may toss coins there is always one:

    max_x min_y xᵀAy = min_y max_x xᵀAy (von Neumann 1928).

A 2×2 game (a, b; c, d) without a saddle point has the value (ad − bc)/(a + d − b − c). In the game
of (0, −a, b; a, 0, −c; −b, c, 0), rock, paper and scissors for stakes, both play (c, b, a)/(a + b +
c), by xᵀA = 0, for the value 0.

A GAN whose generator makes one point has such a gap. Let the data be two points, each with 1/2, and
G one of them. If D answers, it costs G C(G) = 3/2 log 4/3 − log 4; if D moves first, D = 1/2 is its
best, −log 4. Mixing two generators closes the gap, at q = p (Goodfellow 2014, theorem 1, for the
values; Arora et al. 2017, sec. 4, for mixtures).

Players who learn go in circles, and only their averages settle. For multiplicative weights (Freund
& Schapire 1999) from starting weights of at least w on, and payoffs in an interval of length R, a
rate of √(8 log(1/w)/T)/R leaves neither more than R√(log(1/w)/2T) to gain against the other's
average (Cesa-Bianchi & Lugosi 2006, theorem 2.2). For gradient steps of size h in turn on V = −ψθ,
the Dirac-GAN of WGAN's loss, θ_{t+1} = θ_t + hψ_{t+1} sums to mean ψ = (θ_T − θ_0)/hT, and so for
θ: the mean falls as 1/T, though no iterate nears (0, 0). (Derived here.)
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from scipy.optimize import linprog
from scipy.special import softmax

from claims import dirac_gan, style
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import distances, losses

TITLE = "Minimax and mixed strategies"
PARTS = 2
NEUMANN = "von Neumann 1928"

PENNIES = np.array([[1.0, -1.0], [-1.0, 1.0]])
SQUARE = np.array([[3.0, -1.0], [-2.0, 1.0]])
STAKES = np.array([[0.0, -1.0, 2.0], [1.0, 0.0, -3.0], [-2.0, 3.0, 0.0]])
GAMES = {
    "pennies": ("matching pennies", PENNIES, 0.0, [1 / 2, 1 / 2]),
    "square": ("the game (3, −1; −2, 1)", SQUARE, 1 / 7, [3 / 7, 4 / 7]),
    "stakes": ("rock, paper, scissors for 1, 2, 3", STAKES, 0.0, [3 / 6, 2 / 6, 1 / 6]),
}
SIZES = ((2, 2), (2, 3), (3, 3), (4, 4))
MATRICES = 100_000
ROUNDS = 4000


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      played: in matching pennies, each round's probability of heads, `[T, 2]`.
      gaps: for each of GAMES, the gain left against the averages after each round.
    """

    numbers: Numbers
    played: np.ndarray
    gaps: dict[str, np.ndarray]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Solves games by linear programming, and lets learners play them.

    Args:
      scale: multiplies the number of random matrices.
      tick: called after each part.
      seed: of those matrices.
    """
    numbers, gaps = {}, {}
    for name, (text, matrix, value, mixture) in GAMES.items():
        mixed, found = solve(matrix)
        # A linear program is solved to 1e-9 or so.
        numbers[f"matrix_game.value.{name}"] = Number(
            f"value of {text}, by linear programming", NEUMANN, value, found + 0.0, 1e-7, "algebra"
        )
        numbers[f"matrix_game.mixture.{name}"] = Number(
            f"largest error of Max's mixture in {text}",
            NEUMANN, 0.0, float(np.abs(mixed - mixture).max()), 1e-7, "algebra",
        )  # fmt: skip
        played, gaps[name] = learn(matrix)
        if name == "pennies":
            of_pennies = played
        # A bound: what is measured lies between it and 0.
        least = -np.log(start(len(matrix)).min())
        bound = 2 * np.ptp(matrix) * np.sqrt(least / (2 * ROUNDS))
        numbers[f"matrix_game.learned.{name}"] = Number(
            f"gain left after {ROUNDS:,} rounds of {text}, at most 2R√(log(1/w)/2T)",
            "Cesa-Bianchi & Lugosi 2006, theorem 2.2", float(bound), float(gaps[name][-1]),
            float(bound), "algebra", ceiling=True,
        )  # fmt: skip
    for text, value, found in (
        ("max_min", -1.0, PENNIES.min(1).max()), ("min_max", 1.0, PENNIES.max(0).min())
    ):  # fmt: skip
        numbers[f"matrix_game.pure.{text}"] = Number(
            f"{text.replace('_', '-')} of matching pennies without coins",
            NEUMANN, value, float(found), 0.0, "algebra",
        )  # fmt: skip
    numbers |= measure_random(int(MATRICES * scale), seed) | measure_gan()
    tick()
    numbers |= measure_circles()
    tick()
    return Result(numbers, of_pennies, gaps)


def solve(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Max's best mixture and its value: the largest v with xᵀA ≥ v for a distribution x."""
    rows, columns = matrix.shape
    solution = linprog(
        np.append(np.zeros(rows), -1.0),
        A_ub=np.hstack([-matrix.T, np.ones((columns, 1))]), b_ub=np.zeros(columns),
        A_eq=np.append(np.ones(rows), 0.0)[None], b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
    )  # fmt: skip
    return solution.x[:-1], float(solution.x[-1])


def start(n: int) -> np.ndarray:
    """Lopsided weights, since even ones would be at rest in matching pennies."""
    return np.array([0.8] + [0.2 / (n - 1)] * (n - 1))


def learn(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both players by multiplicative weights, from a lopsided start.

    Returns:
      Each round's probabilities of the first row and column, `[T, 2]`; and the sum of what both
      could gain against the other's average so far, `[T]`.
    """
    weights = start(len(matrix))
    rate = np.sqrt(-8 * np.log(weights.min()) / ROUNDS) / np.ptp(matrix)
    gains, costs = np.zeros(len(matrix)), np.zeros(len(matrix))
    mean_x, mean_y, played, gaps = 0 * gains, 0 * costs, [], []
    for t in range(ROUNDS):
        x, y = softmax(np.log(weights) + rate * gains), softmax(np.log(weights) - rate * costs)
        gains, costs = gains + matrix @ y, costs + matrix.T @ x
        mean_x, mean_y = mean_x + (x - mean_x) / (t + 1), mean_y + (y - mean_y) / (t + 1)
        played.append((x[0], y[0]))
        gaps.append((matrix @ mean_y).max() - (matrix.T @ mean_x).min())
    return np.array(played), np.array(gaps)


def measure_random(n: int, seed: int) -> Numbers:
    """How many random matrices have max-min above min-max, and how many a saddle point."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_of(seed))))
    numbers, above = {}, 0
    for rows, columns in SIZES:
        matrices = generator.random((n, rows, columns))
        lower, upper = matrices.min(2).max(1), matrices.max(1).min(1)
        above += int((lower > upper).sum())
        share = math.factorial(rows) * math.factorial(columns) / math.factorial(rows + columns - 1)
        numbers[f"matrix_game.saddle@size={rows}x{columns}"] = Number(
            f"share of random {rows}×{columns} matrices with a saddle point",
            "Goldman 1957", share, float((lower == upper).mean()),
            float(4 * np.sqrt(share * (1 - share) / n)), "sampled",
        )  # fmt: skip
    numbers["matrix_game.above"] = Number(
        "how many of them have max-min above min-max", NEUMANN, 0.0, float(above), 0.0, "sampled"
    )
    return numbers


def measure_gan() -> Numbers:
    """A generator that makes one of two points, against all discriminators on a grid."""
    p, points = np.array([0.5, 0.5]), np.eye(2)
    cost = distances.gan_value(distances.optimal_discriminator(p, points), p, points)
    levels = np.arange(1, 50) / 50  # 1/2 is one of them
    tables = np.stack(np.meshgrid(levels, levels), axis=-1).reshape(-1, 2)
    payoffs = np.asarray(distances.gan_value(tables[:, None], p, points), np.float64)
    mixed, value = solve(-payoffs.T)  # to G, who moves second in the matrix, it is a cost
    source = "Goodfellow 2014, theorem 1"
    # Rounding, in float32. Mixtures that differ by less than a step of D's grid cost G the same.
    return {
        f"matrix_game.gan.{name}": Number(
            what, source, closed, float(found), 1 / 50 if name == "half" else 1e-6, "algebra"
        )
        for name, what, closed, found in (
            ("answered", "a generator of one of two points, D answering: 3/2 log 4/3 − log 4",
             1.5 * np.log(4 / 3) - np.log(4), cost.min()),
            ("first", "the same if D moves first: −log 4", -np.log(4), payoffs.min(1).max()),
            ("mixed", "the same if G may mix its two points: −log 4", -np.log(4), -value),
            ("half", "share of the first point in that mixture", 0.5, mixed[0]),
        )
    }  # fmt: skip


def measure_circles() -> Numbers:
    """Gradient steps in turn on V = −ψθ: the library's WGAN, with a bound that is never reached."""
    orbit = dirac_gan.follow(losses.wgan(4.0))
    h, steps, radius = dirac_gan.ORBIT_RATE, len(orbit) - 1, float(np.linalg.norm(orbit[0]))
    bound = np.sqrt(2) * 2 * radius * (1 + 2 * h) / (h * steps)
    return {
        # ψ² + θ² ± hψθ does not change: the radius moves by h/4 of itself each way.
        "matrix_game.circles.last": Number(
            f"distance from the equilibrium after {steps:,} gradient steps in turn",
            "derived here", float(radius), float(np.linalg.norm(orbit[-1])), h / 2 * radius,
            "trained",
        ),
        "matrix_game.circles.mean": Number(
            "distance of the mean of those steps, at most √8·r(1 + 2h)/hT",
            "derived here", float(bound), float(np.linalg.norm(orbit[1:].mean(0))), float(bound),
            "trained", ceiling=True,
        ),
    }  # fmt: skip


def draw(result: Result):
    """Matching pennies as two learners play it, and what is left to gain against averages."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$\max_x \min_y x^{T}\!Ay = \min_y \max_x x^{T}\!Ay$", width=style.NARROW
    )
    axes = panels[0]
    rounds = np.arange(1, ROUNDS + 1)
    axes.plot(*result.played.T, color="C1", lw=0.7, label="played")
    axes.plot(*(np.cumsum(result.played, 0).T / rounds), color="C0", lw=1.5, label="averages")
    axes.plot(0.5, 0.5, "o", color=style.DATA, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.2), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    style.label(axes, "Matching pennies: circles", "Max plays heads", "Min plays heads")
    style.legend(axes, loc="upper center", ncols=2, borderaxespad=0.1)
    axes = panels[1]
    for i, (name, gaps) in enumerate(result.gaps.items()):
        axes.plot(rounds, gaps, color=f"C{i}", lw=1.2, label=name)
        bound = result.numbers[f"matrix_game.learned.{name}"].closed_form
        axes.plot(ROUNDS, bound, "v", color=f"C{i}", markersize=5)
    axes.set(xscale="log", yscale="log", xlim=(20, 6000))
    style.label(axes, "Left to gain (▼ bound)", "rounds", "gain of the best reply")
    style.legend(axes)
    return figure
