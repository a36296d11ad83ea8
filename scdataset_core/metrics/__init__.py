"""Metrics: how random minibatches are, measured and predicted.

A minibatch of cells drawn one by one at random holds the values of a label in about the
shares of the whole data set, and its mean of X varies as little as that of independent
cells can. A minibatch that is read from neighbouring rows holds few values, and its
mean varies more. The measures tell the two apart:

===================  ================================================================
entropy              of a label in a minibatch, in bits: 0 if all cells share it
distinct blocks      of how many blocks of neighbours the cells of a minibatch are
total variation,     how far the shares of a label in a minibatch are from those of
chi-square           the data set
correlation          of what is wrong with the shares of a minibatch and of the next
variance of means    of X in a minibatch, over that of independent cells
===================  ================================================================

:func:`measure_sampling` measures all of them on the minibatches of a Loader;
:func:`predict_sampling` predicts all but the last from a label, before anything is
read.
"""

from .composition import (
    chi_squares,
    label_shares,
    successive_correlation,
    total_variations,
)
from .entropy import batch_entropies
from .expectation import (
    expect_independent,
    expected_entropy,
    predict_entropy,
    predict_sampling,
)
from .expression import mean_variance_ratio
from .label_runs import LabelRuns
from .measures import Measures
from .plans import distinct_blocks, plan_blocks, plan_labels
from .quality import SamplingQuality, measure_sampling

__all__ = [
    "LabelRuns",
    "Measures",
    "SamplingQuality",
    "batch_entropies",
    "chi_squares",
    "distinct_blocks",
    "expect_independent",
    "expected_entropy",
    "label_shares",
    "mean_variance_ratio",
    "measure_sampling",
    "plan_blocks",
    "plan_labels",
    "predict_entropy",
    "predict_sampling",
    "successive_correlation",
    "total_variations",
]
