"""Minimax: two players in turn, and what a game is worth if both play their best.

In a game of perfect information the value of a position is the largest value of its children where
Max moves, the least where Min does, and so on from the leaves back to the root (backward induction;
Zermelo 1913; von Neumann & Morgenstern 1944, sec. 15). Alpha-beta finds the same value and skips
children that cannot change it. Where the best child always comes first, a tree of depth n with b
children each costs it

    b^⌈n/2⌉ + b^⌊n/2⌋ − 1  leaves of b^n (Knuth & Moore 1975, corollary 1).

In random order, for depth 2 and leaves drawn from one continuous law: the j + 1st leaf of Min's
i + 1st node is read if the j before it are all above α, the largest of i minima of b. In
t = (1 − α)^b for uniform leaves, whose law is that of the largest of i reversed, it is probable by
i∫t^{j/b}(1 − t)^{i−1} dt = i·B(1 + j/b, i), and so the mean number of leaves read is

    b + Σ_{i=1}^{b−1} Σ_{j=0}^{b−1} i·B(1 + j/b, i). (Derived here.)

A GAN's min_G max_D V is such a tree of depth 2: G moves, D sees q and answers (Goodfellow 2014,
eq. 1). Its value is C(G) = max_D V at the best G, which is −log 4 where the data are within reach.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from scipy import special

from claims import style
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import distances

TITLE = "Minimax on a tree"
PARTS = 1
KNUTH = "Knuth & Moore 1975, corollary 1"

# Russell & Norvig, Artificial Intelligence, fig. "two-ply game tree": value 3, 7 of 9 leaves read.
TEXTBOOK = [[3, 12, 8], [2, 4, 6], [14, 5, 2]]
DEPTHS = tuple(range(1, 11))
BRANCHES = (2, 3, 4)
TREES, GAMES = 5000, 500

Tree = Sequence | float


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      read: leaves of the textbook's tree that alpha-beta reads, in turn.
      best: leaves read of a binary tree in the best order, at each of DEPTHS.
      shuffled: the same in random order, means.
    """

    numbers: Numbers
    read: list[float]
    best: np.ndarray
    shuffled: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Plays trees by backward induction, by alpha-beta and by strategies.

    Args:
      scale: multiplies the number of random trees.
      tick: called after the measurement.
      seed: of random leaves.
    """
    read: list[float] = []
    value = alpha_beta(TEXTBOOK, read)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_of(seed))))
    games = generator.random((int(GAMES * scale), 2, 2, 2, 2)).tolist()
    differences = [
        max(abs(alpha_beta(t, []) - induction(t)), abs(by_strategies(t) - induction(t)))
        for t in games
    ]
    source = "Russell & Norvig, Artificial Intelligence, sec. on alpha-beta"
    numbers = {
        "minimax_tree.textbook.value": Number(
            "value of the textbook's tree", source, 3.0, float(value), 0.0, "algebra"
        ),
        "minimax_tree.textbook.leaves": Number(
            "leaves of its nine that alpha-beta reads", source, 7.0, float(len(read)), 0.0,
            "algebra",
        ),
        "minimax_tree.same": Number(
            "largest difference between alpha-beta, induction and max-min over all strategies, "
            "random trees of depth 4",
            "von Neumann & Morgenstern 1944, sec. 15", 0.0, float(max(differences)), 0.0, "sampled",
        ),
        # Rounding, in float32.
        "minimax_tree.gan": Number(
            "min_G max_D V by induction, data and generators on three points: −log 4",
            "Goodfellow 2014, theorem 1", -np.log(4), play_gan(), 1e-6, "algebra",
        ),
    }  # fmt: skip
    best, shuffled = [], []
    for n in DEPTHS:
        leaves = generator.random((max(20, 2000 >> n),) + (2,) * n).tolist()
        shuffled.append(np.mean([leaves_read(tree) for tree in leaves]))
        best.append(leaves_read(in_best_order(leaves[0], True)[1]))
        numbers[f"minimax_tree.fewest@depth={n}"] = Number(
            f"leaves read of 2^{n}, best child first", KNUTH,
            float(2 ** -(-n // 2) + 2 ** (n // 2) - 1), float(best[-1]), 0.0, "algebra",
        )  # fmt: skip
    for b in BRANCHES:
        trees = generator.random((int(TREES * scale), b, b)).tolist()
        counts = np.array([leaves_read(tree) for tree in trees])
        numbers[f"minimax_tree.leaves@b={b}"] = Number(
            f"leaves read of {b}² in random order, mean",
            "derived here", expected_leaves(b), float(counts.mean()),
            float(4 * counts.std() / np.sqrt(len(trees))), "sampled",
        )  # fmt: skip
    tick()
    return Result(numbers, read, np.array(best), np.array(shuffled))


def induction(tree: Tree, maximises: bool = True) -> float:
    """The value of a tree, from the leaves back."""
    if not isinstance(tree, list):
        return tree
    return (max if maximises else min)(induction(child, not maximises) for child in tree)


def alpha_beta(
    tree: Tree, read: list, maximises: bool = True, alpha: float = -np.inf, beta: float = np.inf
) -> float:
    """The same; appends to `read` each leaf that it looks at.

    Args:
      tree: nested lists, of numbers at last.
      read: where leaves are put down.
      maximises: whether Max moves.
      alpha: what Max has for sure elsewhere.
      beta: what Min has.
    """
    if not isinstance(tree, list):
        read.append(tree)
        return tree
    for child in tree:
        value = alpha_beta(child, read, not maximises, alpha, beta)
        alpha, beta = (max(alpha, value), beta) if maximises else (alpha, min(beta, value))
        if alpha >= beta:
            break
    return alpha if maximises else beta


def leaves_read(tree: Tree) -> int:
    """How many leaves alpha-beta looks at."""
    read: list = []
    alpha_beta(tree, read)
    return len(read)


def by_strategies(tree: Tree) -> float:
    """max over Max's strategies of min over Min's, of depth 4 with two children each.

    A strategy says beforehand what to do at every node: Max's at 1 + 4 nodes, Min's at 2 + 8. Of
    Min's answers to one strategy only those on the way matter.
    """
    leaves = np.array(tree)
    return max(
        min(
            leaves[first, reply, then[2 * first + reply], last]
            for reply, last in itertools.product(range(2), repeat=2)
        )
        for first, *then in itertools.product(range(2), repeat=5)
    )


def in_best_order(tree: Tree, maximises: bool) -> tuple[float, Tree]:
    """The value of a tree, and the tree with the best child of each node first."""
    if not isinstance(tree, list):
        return tree, tree
    children = [in_best_order(child, not maximises) for child in tree]
    children.sort(key=lambda c: c[0], reverse=maximises)
    return children[0][0], [child for _, child in children]


def expected_leaves(b: int) -> float:
    """The mean number of leaves read at depth 2 in random order."""
    return b + sum(i * float(special.beta(1 + j / b, i)) for i in range(1, b) for j in range(b))


def play_gan() -> float:
    """The value where G picks one of 66 distributions on three points, D one of 729 tables."""
    parts = [(i, j, 10 - i - j) for i in range(11) for j in range(11 - i)]
    generators = np.array(parts) / 10
    levels = [0.05, 0.1, 0.2, 1 / 3, 0.5, 2 / 3, 0.8, 0.9, 0.95]
    tables = np.array(list(itertools.product(levels, repeat=3)))
    payoffs = distances.gan_value(tables, np.array([0.5, 0.3, 0.2]), generators[:, None])
    return induction(np.asarray(payoffs, np.float64).tolist(), maximises=False)


def draw(result: Result):
    """The textbook's tree with what alpha-beta skips, and leaves read over depth."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$\min_G \max_D V$ is a game of two moves, like this one",
        width=style.NARROW,
    )  # fmt: skip
    axes, read = panels[0], 0
    for i, leaves in enumerate(TEXTBOOK):
        axes.plot([4, 1 + 3 * i], [2, 1], color="0.6", lw=1, zorder=0)
        for j, leaf in enumerate(leaves):
            seen = read < len(result.read) and leaf == result.read[read]
            read += seen
            color = "0.15" if seen else "0.75"
            axes.plot([1 + 3 * i, 3 * i + j], [1, 0.1], color=color, lw=1, ls="-" if seen else ":")
            axes.text(3 * i + j, -0.1, leaf, ha="center", color=color, fontsize="small")
        worth = min(leaves)
        text = f"≤ {worth}" if not seen else f"{worth}"
        axes.plot(1 + 3 * i, 1, "v", color="C0", markersize=15)
        axes.text(1.55 + 3 * i, 1.02, text, fontsize="small", color="C0")
    axes.plot(4, 2, "^", color="C3", markersize=15)
    axes.text(4.6, 2.02, f"{induction(TEXTBOOK)}", fontsize="small", color="C3")
    axes.text(-0.6, 1.95, "max", fontsize="small", color="C3")
    axes.text(-0.9, 1.12, "min", fontsize="small", color="C0")
    axes.set(xlim=(-1, 9), ylim=(-0.3, 2.3), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    style.label(axes, "Grey leaves need not be read")
    axes = panels[1]
    depths = np.array(DEPTHS)
    axes.plot(depths, 2.0**depths, ":", color="0.5", label="all: $2^n$")
    axes.plot(depths, result.shuffled, "o-", color="C1", markersize=3, lw=1, label="random order")
    axes.plot(depths, [result.numbers[f"minimax_tree.fewest@depth={n}"].closed_form
                       for n in DEPTHS], **style.CLOSED_FORM, label="closed form")  # fmt: skip
    axes.plot(depths, result.best, **style.DOT, color="C0", label="best child first")
    axes.set(yscale="log", xticks=[1, 4, 7, 10])
    style.label(axes, "Alpha-beta, two children each", "depth n", "leaves read")
    style.legend(axes)
    return figure
