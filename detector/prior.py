"""What a score means where more or fewer pictures are fake than the half for which it is a probability.

with_prior(0.91, 0.01)      # 0.093: of the pictures with this score, 9 in 100 are fake where 1 in 100 is
"""

from argparse import ArgumentTypeError
from fractions import Fraction


def with_prior(score: float, prior: float) -> float:
    """A score, P(fake) where half of the pictures are fake, to P(fake) where the share `prior` of them is; 0 to 1.

    By Bayes' rule: the odds of Fake are those of the score times those of the prior.
    """
    fake, real = score * prior, (1 - score) * (1 - prior)
    return fake / (fake + real) if fake + real > 0 else prior


def in_words(share: float) -> str:
    """0.01 to "1 in 100", 0.3 to "3 in 10": as people count."""
    found = Fraction(share).limit_denominator(100) if share >= 0.01 else Fraction(1, round(1 / share))
    return f"{found.numerator} in {found.denominator:,}"


def prior_share(text: str) -> float:
    """The value of a flag --prior, for argparse."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.000_001 <= share <= 0.999_999:
        raise ArgumentTypeError(f"must be a share above 0 and below 1, 0.01 say, not {text}")
    return share
