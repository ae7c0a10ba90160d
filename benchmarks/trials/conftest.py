"""The trials run under the same settings as the tests."""

from tests.conftest import small_disk  # noqa: F401  (a fixture)
