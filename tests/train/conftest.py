from collections.abc import Iterator

import pytest

MEBIBYTES = 1 << 10  # in the unit of ru_maxrss


@pytest.fixture
def no_gigabytes(run: object) -> Iterator[None]:
    """The peak of memory stays within 300 MiB of what it was when the module's `run` had been trained."""
    resource = pytest.importorskip("resource", reason="the peak of memory is not known here")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * MEBIBYTES
