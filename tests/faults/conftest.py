"""The broker of the host's tests."""

from tests.host.conftest import bootstrap

__all__ = ["bootstrap"]
