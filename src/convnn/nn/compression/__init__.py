"""Parts of learned compression: divisive normalisation, counts of bits, and priors that know what came before."""

from convnn.nn.compression.bits import FORMS, FactorizedBits, LaplaceBits, laplace_bits
from convnn.nn.compression.normalization import GDN, lower_bound
from convnn.nn.compression.offsets import OffsetDiversity
from convnn.nn.compression.priors import (
    AutoregressivePrior,
    CheckerboardPrior,
    Coded,
    MaskedConv2d,
    QuadPrior,
    SymbolCoder,
    round_through,
)

__all__ = [
    "FORMS",
    "GDN",
    "AutoregressivePrior",
    "CheckerboardPrior",
    "Coded",
    "FactorizedBits",
    "LaplaceBits",
    "MaskedConv2d",
    "OffsetDiversity",
    "QuadPrior",
    "SymbolCoder",
    "laplace_bits",
    "lower_bound",
    "round_through",
]
