import numpy as np
import pytest

from convnn.errors import (
    ConvnnError,
    InputError,
    TrainingError,
    UnsupportedError,
    check_at_least,
    check_choice,
    check_fraction,
    check_not_negative,
    check_positive,
    check_rate,
    did_you_mean,
)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(InputError, ValueError), (UnsupportedError, NotImplementedError), (TrainingError, RuntimeError)],
)
def test_errors_are_ours_and_the_builtin_kind(error: type, builtin: type) -> None:
    assert issubclass(error, ConvnnError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("vgg1", "; did you mean 'vgg11'?"),
        ("RESNET18", "; did you mean 'ResNet18'?"),
        ("transformer", ""),
        ("", ""),
    ],
)
def test_nearest_name_is_suggested_whatever_the_case(name: str, suggestion: str) -> None:
    assert did_you_mean(name, ["vgg11", "ResNet18"]) == suggestion


def test_choices_are_listed_with_the_nearest() -> None:
    check_choice("metric", "cosine", ["cosine", "euclidean"])
    with pytest.raises(InputError) as error:
        check_choice("metric", "cosin", ["cosine", "euclidean"])
    assert str(error.value) == "metric='cosin' is not one of cosine, euclidean; did you mean 'cosine'?"


@pytest.mark.parametrize("value", [2, 1.5, "3", True, None])
def test_integers_below_the_least_or_of_another_type_are_refused(value: object) -> None:
    check_at_least("K", 3, 3)
    check_at_least("K", np.int64(3), 3)  # type: ignore[arg-type]  # as in a grid of np.arange
    with pytest.raises(InputError, match=rf"K={value!r} must be an integer of at least 3"):
        check_at_least("K", value, 3)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_fractions_lie_between_zero_and_one(value: float) -> None:
    check_fraction("ratio", 0)
    check_fraction("ratio", 1)
    with pytest.raises(InputError, match=rf"ratio={value!r} must lie between 0 and 1"):
        check_fraction("ratio", value)


@pytest.mark.parametrize("value", ["3", None, [0.5]])
@pytest.mark.parametrize("check", [check_positive, check_not_negative, check_rate, check_fraction])
def test_what_is_no_number_is_refused_in_the_same_words(check, value: object) -> None:
    check("gamma", 0.5)
    with pytest.raises(InputError) as error:
        check("gamma", value)
    assert str(error.value).startswith(f"gamma={value!r} must ")
