import pytest

from layer_cases import MAP_CASES, TOKEN_CASES, LayerCase, TokenCase


@pytest.fixture(params=MAP_CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> LayerCase:
    return request.param


@pytest.fixture(params=TOKEN_CASES, ids=lambda case: case.name)
def tokens(request: pytest.FixtureRequest) -> TokenCase:
    return request.param


@pytest.fixture(params=[*MAP_CASES, *TOKEN_CASES], ids=lambda case: case.name)
def either(request: pytest.FixtureRequest) -> LayerCase | TokenCase:
    return request.param
