"""The flags of a run, a file for each group: their defaults, help, values and bounds."""

from convnn.train.flags._flag import Flag, check_number, choices_of, flags_of, largest, option_of, value_type

__all__ = ["Flag", "check_number", "choices_of", "flags_of", "largest", "option_of", "value_type"]
