"""HTTPS without a proxy."""

import contextlib
import http.client
import shutil
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest

from marconi_api.processes.web_server import uwsgi_program
from tests.running_service import refused, services

HAS_TLS = (
    ' --https '
    in subprocess.run([uwsgi_program(), '--help'], capture_output=True, text=True).stdout
)


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 and its key, which the service's user can read."""
    if shutil.which('openssl') is None:
        pytest.skip('the certificate is made with openssl')
    directory = Path(tmp_path_factory.mktemp('tls'))
    for above in (directory, *directory.parents):
        if above.owner() == directory.owner() and str(above) != '/tmp':
            above.chmod(0o755)
        else:
            break
    certificate, key = directory / 'cert.pem', directory / 'key.pem'
    subprocess.run(
        [
            *('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'),
            *('-nodes', '-days', '2', '-subj', '/CN=127.0.0.1', '-out', certificate),
            *('-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o644)
    return str(certificate), str(key)


@pytest.mark.skipif(not HAS_TLS, reason='this uwsgi was built without OpenSSL')
def test_a_client_that_checks_the_certificate_is_answered(files: tuple[str, str]) -> None:
    certificate, key = files
    with services() as start:
        service = start(MARCONI_TLS_CERT=certificate, MARCONI_TLS_KEY=key)
        assert service.process.stdout is not None
        line = service.process.stdout.readline()
        assert line.startswith('Marconi is ready at https://127.0.0.1:')
        port = int(line.rpartition(':')[2])
        context = ssl.create_default_context(cafile=certificate)

        def version_of(context: ssl.SSLContext) -> str | None:
            connection = http.client.HTTPSConnection('127.0.0.1', port, context=context)
            with contextlib.closing(connection):
                connection.request('GET', '/v1/health')
                assert connection.getresponse().status == 204
                return connection.sock.version()

        assert version_of(context) == 'TLSv1.3'
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert version_of(context) == 'TLSv1.2'
        old = ssl.create_default_context(cafile=certificate)
        old.set_ciphers('ALL:@SECLEVEL=0')
        with warnings.catch_warnings():
            # Python warns of versions so old.
            warnings.simplefilter('ignore')
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            version_of(old)


@pytest.mark.skipif(HAS_TLS, reason='this uwsgi was built with OpenSSL')
def test_a_uwsgi_that_cannot_is_told_in_one_line(files: tuple[str, str]) -> None:
    certificate, key = files
    with services() as start:
        line = refused(start(MARCONI_TLS_CERT=certificate, MARCONI_TLS_KEY=key))

    assert 'this uwsgi cannot speak TLS: install one that was built with OpenSSL' in line


def test_a_certificate_without_its_key_is_told_in_one_line(files: tuple[str, str]) -> None:
    with services() as start:
        assert 'set both MARCONI_TLS_CERT and MARCONI_TLS_KEY' in refused(
            start(MARCONI_TLS_CERT=files[0])
        )


def test_what_is_no_certificate_is_told_in_one_line(files: tuple[str, str]) -> None:
    with services() as start:
        line = refused(start(MARCONI_TLS_CERT=files[1], MARCONI_TLS_KEY=files[1]))

    assert 'cannot use MARCONI_TLS_CERT and MARCONI_TLS_KEY' in line
