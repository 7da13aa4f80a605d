"""Words that depend on numbers."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun.

    Args:
        number: how many.
        noun: what of.
        plural: of the noun, where it is not made by an s.

    Example:
        >>> counted(1, "epoch"), counted(1200, "epoch"), counted(0, "class", "classes")
        ('1 epoch', '1,200 epochs', '0 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
