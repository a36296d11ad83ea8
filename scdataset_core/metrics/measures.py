"""The measures of randomness, as one record."""

from dataclasses import dataclass

__all__ = ["Measures"]


@dataclass(frozen=True)
class Measures:
    """How random minibatches are: the mean of each measure over minibatches.

    Parameters
    ----------
    entropy
        Entropy of the label in a minibatch, in bits.
    blocks
        Number of distinct blocks of neighbours in a minibatch.
    total_variation
        Distance of the shares of the label in a minibatch from those of the data set,
        from 0 to 1.
    chi_square
        Pearson's statistic of these shares. For independent cells it is the number of
        labels less 1.
    correlation
        How far a minibatch deviates from the shares of the data set in the same way as
        the one before it: about 0 for independent cells, about 1 in file order.
    variance
        Variance of the mean of X between minibatches, as a multiple of that of
        independent cells; NaN if X is not known.
    """

    entropy: float
    blocks: float
    total_variation: float
    chi_square: float
    correlation: float
    variance: float
