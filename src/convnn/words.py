"""Nouns in the singular or plural."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and its noun, in the singular or plural.

    Args:
        number: the number.
        noun: the noun in the singular.
        plural: its plural, if it is not formed with an s.

    Example:
        >>> counted(1, "epoch"), counted(1200, "epoch"), counted(0, "class", "classes")
        ('1 epoch', '1,200 epochs', '0 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
