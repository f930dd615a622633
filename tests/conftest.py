"""Fixtures of all tests."""

import pytest
from backends import usable


@pytest.fixture
def backend(request):
    """The backend of a name in `backends.BACKENDS`; skips with the reason where there is none."""
    return usable(request.param)
