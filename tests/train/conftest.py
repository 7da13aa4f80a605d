from collections.abc import Iterator

import pytest

MEBIBYTES = 1 << 10  # in the unit of ru_maxrss


@pytest.fixture
def no_gigabytes(run: object) -> Iterator[None]:
    """Check that peak memory stays within 300 MiB of its value after the module's `run` was trained."""
    resource = pytest.importorskip("resource", reason="the peak of memory is not known here")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * MEBIBYTES
