"""The family of losses and schemes of training; each room states the facts of its own."""

from convnn.systems import register_family

register_family(
    "objectives",
    "Who belongs together",
    "A loss or a scheme of training says who should be a neighbour, and the network learns until it is: two views of"
    " one sample, members of one community or cluster, what a teacher sees alike.",
)
