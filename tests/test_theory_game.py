"""Claims about games, optima and packs."""

import itertools

import numpy as np
import pytest
from measured_claims import assert_hold, theory

local_optima, matrix_game, minimax_tree, packing = (
    theory.CLAIMS[name] for name in ("local_optima", "matrix_game", "minimax_tree", "packing")
)


def test_alpha_beta_sees_the_value_of_backward_induction_with_fewer_leaves():
    assert_hold("minimax_tree", "textbook", "same", "fewest", "leaves")


def test_mean_number_of_leaves_is_that_over_all_orders():
    orders = [
        minimax_tree.leaves_read([list(p[:2]), list(p[2:])])
        for p in itertools.permutations((1.0, 2.0, 3.0, 4.0))
    ]
    assert (
        np.mean(orders) == pytest.approx(minimax_tree.expected_leaves(2)) == pytest.approx(11 / 3)
    )


def test_a_gan_by_backward_induction_is_worth_minus_log_4():
    assert_hold("minimax_tree", "gan")


def test_mixing_closes_the_gap_between_max_min_and_min_max():
    assert_hold("matrix_game", "value", "mixture", "pure", "saddle", "above", "gan")


def test_the_linear_program_gives_two_by_two_games_their_closed_form():
    for a, b, c, d in np.random.default_rng(0).random((200, 4)):
        matrix = np.array([[a, b], [c, d]])
        lower, upper = matrix.min(1).max(), matrix.max(0).min()
        closed = lower if lower == upper else (a * d - b * c) / (a + d - b - c)
        assert matrix_game.solve(matrix)[1] == pytest.approx(closed, abs=1e-9)


def test_averages_of_learners_converge_though_they_circle():
    assert_hold("matrix_game", "learned", "circles")


def test_where_descent_ends_is_where_it_starts_but_for_noise():
    assert_hold("local_optima", "generators", "well", "noise")
    assert np.sort(np.roots([1, 0, -1, local_optima.TILT]).real)[1] == pytest.approx(
        local_optima.HILL
    )


def test_over_distributions_the_cost_falls_all_the_way_to_the_data():
    assert_hold("local_optima", "paths")


@pytest.mark.slow
def test_packs_tell_a_collapsed_generator_from_one_as_far_away():
    assert_hold("packing", "tv", "certified")


def test_no_generator_as_far_from_the_data_is_told_from_them_sooner_than_a_collapsed_one():
    for m in range(2, 9):
        most = 1 - (1 - packing.TAU) ** m
        assert packing.closed_form("spread", m) < packing.closed_form("collapsed", m) == most
