"""An nginx in front of services, as docs/nginx.conf has it."""

import contextlib
import http.client
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import wait_until

#: The user alice of project acme, and the user bob.
USERS = 'alice:{PLAIN}secret\nbob:{PLAIN}secret\n'

with_nginx = pytest.mark.skipif(shutil.which('nginx') is None, reason='nginx is not there')


@contextlib.contextmanager
def nginx(directory: Path, replaced: Mapping[str, str]) -> Iterator[int]:
    """Run it with the configuration of the page, without TLS; its port.

    :param directory: an empty one
    :param replaced: other text for parts of that configuration
    """
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    site = (CHECKOUT / 'docs' / 'nginx.conf').read_text()
    site = re.sub(r'^ *ssl_certificate.*\n', '', site, flags=re.MULTILINE)
    for of_the_page, of_the_test in {
        'listen 443 ssl': f'listen 127.0.0.1:{port}',
        '/etc/nginx/marconi.users': 'users',
        **replaced,
    }.items():
        assert of_the_page in site
        site = site.replace(of_the_page, of_the_test)
    (directory / 'users').write_text(USERS)
    temporary = '\n'.join(
        f'{kind}_temp_path {directory}/{kind};'
        for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')
    )
    (directory / 'nginx.conf').write_text(
        f'pid {directory}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\n{site}\n}}\n'
    )
    process = subprocess.Popen(
        ['nginx', '-p', directory, '-c', 'nginx.conf', '-e', 'stderr', '-g', 'daemon off;']
    )

    def is_up() -> bool:
        assert process.poll() is None
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
            with contextlib.closing(connection):
                connection.request('GET', '/v1/health')
                return connection.getresponse().status == 204
        return False

    try:
        wait_until(is_up)
        yield port
    finally:
        process.terminate()
        process.wait()
