"""Chances of draws, against SciPy's distributions."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from scdataset_core.metrics.draws import (
    chance_of_none,
    draw_chances,
    mean_entropy_terms,
)


@pytest.mark.parametrize(
    ("n_cells", "n_drawn"), [(12, 5), (12, 12), (900, 800), (1, 1)]
)
def test_chances_are_those_of_the_hypergeometric_distribution(n_cells, n_drawn):
    marked = np.arange(n_cells + 1)
    found = draw_chances(marked, n_cells=n_cells, n_drawn=n_drawn)
    drawn = np.arange(n_drawn + 1)
    expected = hypergeom.pmf(drawn, n_cells, marked[:, None], n_drawn)
    np.testing.assert_allclose(found, expected, atol=1e-11)
    for number in (0, 1, n_cells):
        none = chance_of_none(number, n_cells=n_cells, n_drawn=n_drawn)
        assert none == pytest.approx(expected[number, 0], abs=1e-12)


def test_entropy_terms_of_two_cells():
    chances = draw_chances(np.array([0, 2, 4]), n_cells=4, n_drawn=2)
    assert mean_entropy_terms(chances).tolist() == pytest.approx([0, 1 / 3, 0])
