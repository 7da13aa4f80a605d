"""Input and output channels of the weights of a layer on maps."""

from convnn.errors import check_choice
from convnn.nn._grouped import check_groups
from convnn.nn._shuffle import Shuffle
from convnn.nn.functional import AGGREGATION_TYPES


def channels_of_weights(
    in_channels: int, out_channels: int, axes: int, groups: int, aggregation_type: str, shuffle: Shuffle
) -> tuple[int, int]:
    """Return the numbers of channels read, unshuffled and with coordinates, and written before the last shuffle.

    Raises:
        InputError: the aggregation type is unknown, or the groups do not divide them.
    """
    check_choice("aggregation_type", aggregation_type, AGGREGATION_TYPES)
    inside, outside = shuffle.channels(in_channels, out_channels, axes)
    inside += axes if aggregation_type == "Loc_Col" else 0
    check_groups(groups, inside, outside)
    return inside, outside
