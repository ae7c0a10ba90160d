"""The trials run under the same settings as the tests."""

from benchmarks import hear_interrupts
from tests.conftest import small_disk  # noqa: F401  (a fixture)


def pytest_configure():
    hear_interrupts()
