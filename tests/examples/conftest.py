"""A server on loopback that replies as it is told, as the oracles' own tests have it."""

from tests.expert.conftest import reply, serve

__all__ = ["reply", "serve"]
