"""Who sends a request, for the audit log."""

from marconi_api.model import Actor
from marconi_api.model.audit import API
from marconi_api.policy import SIGNED
from marconi_api.wire.requests import Request


def actor_of(request: Request) -> Actor:
    """The actor behind a request: its credential, named by the part that is not secret."""
    identity = request.identity
    if identity.token:
        return Actor(f'token {identity.token}', API)
    if SIGNED in identity.roles:
        return Actor('signed URL', API)
    return Actor('no token', API)
