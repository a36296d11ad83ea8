"""The measures of randomness, as one record."""

from dataclasses import dataclass

__all__ = ["Measures"]


@dataclass(frozen=True)
class Measures:
    """How random minibatches are: the mean of each measure over minibatches.

    Parameters
    ----------
    entropy
        Of the label in a minibatch, in bits.
    blocks
        Distinct blocks of neighbours in a minibatch.
    total_variation
        Distance of the shares of the label in a minibatch from those of the data set,
        from 0 to 1.
    chi_square
        Pearson's statistic of the same; of independent cells the number of labels
        less 1.
    correlation
        Of the deviations of a minibatch from the shares and those of the next one.
    variance
        Of the mean of X over minibatches, over that of independent cells; NaN where X
        is not known.
    """

    entropy: float
    blocks: float
    total_variation: float
    chi_square: float
    correlation: float
    variance: float
