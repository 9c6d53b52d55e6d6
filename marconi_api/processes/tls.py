"""HTTPS, spoken by uwsgi's router."""

import ssl
import subprocess
from pathlib import Path
from typing import Any

from marconi_api.processes.failures import ServiceError

#: The ciphers for TLS 1.2, all with forward secrecy; those of TLS 1.3 need no choice. Older versions
#: know none of them, and so cannot be used.
CIPHERS = 'ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL'


def is_on(server: Any) -> bool:
    """Whether the settings ask for HTTPS."""
    return bool(server.tls_cert or server.tls_key)


def check(server: Any, program: str) -> None:
    """Make sure that HTTPS can be spoken, if the settings ask for it.

    :param program: uwsgi
    :raises ServiceError: if it cannot
    """
    if not is_on(server):
        return
    if not (server.tls_cert and server.tls_key):
        raise ServiceError('set both MARCONI_TLS_CERT and MARCONI_TLS_KEY, or none of them')
    _check_files(*_paths(server))
    options = subprocess.run([program, '--help'], capture_output=True, text=True).stdout
    if ' --https ' not in options:
        raise ServiceError(
            'this uwsgi cannot speak TLS: install one that was built with OpenSSL '
            '(pip install --force-reinstall --no-binary pyuwsgi pyuwsgi), or put a proxy in front'
        )


def router_option(server: Any, socket: str) -> tuple[str, str]:
    """The option that makes the router listen: by HTTPS if there is a certificate, else by HTTP.

    :param socket: where it listens, as uwsgi has it
    """
    if not is_on(server):
        return 'http', socket
    return 'https', ','.join((socket, *_paths(server), CIPHERS))


def _paths(server: Any) -> list[str]:
    return [str(Path(path).resolve()) for path in (server.tls_cert, server.tls_key)]


def _check_files(certificate: str, key: str) -> None:
    if ',' in certificate or ',' in key:
        raise ServiceError('MARCONI_TLS_CERT and MARCONI_TLS_KEY: a path must hold no comma')
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except ssl.SSLError:
        raise ServiceError(
            'cannot use MARCONI_TLS_CERT and MARCONI_TLS_KEY: they are not a certificate in PEM and '
            'the key that belongs to it'
        ) from None
    except OSError as error:
        raise ServiceError(
            f'cannot read MARCONI_TLS_CERT or MARCONI_TLS_KEY: {error.strerror}'
        ) from None
