"""A Keystone, to be run in its own environment.

Usage: serve.py DIRECTORY PORT. What it keeps is in DIRECTORY, where it is made at first: an empty
database, keys, and the user `admin`, whose password is `admin`. PORT 0 is any free one. Prints
its URL when it is ready.
"""

import grp
import multiprocessing
import os
import pwd
import sys
from pathlib import Path

from keystone.cmd import cli
from keystone.server.wsgi import initialize_public_application
from werkzeug.serving import make_server

CONFIG = """\
[DEFAULT]
log_file = {0}/keystone.log
[database]
connection = sqlite:///{0}/keystone.db
[fernet_tokens]
key_repository = {0}/fernet
[credential]
key_repository = {0}/credential
[identity]
# As quickly as it can be done: these passwords protect nothing.
password_hash_rounds = 4
"""


def main(directory, port):
    os.environ['OS_KEYSTONE_CONFIG_DIR'] = directory
    # Only now is it known where it will be, which it must be told when it is made.
    server = make_server('127.0.0.1', port, None, threaded=True)
    url = f'http://127.0.0.1:{server.port}/v3'
    if not Path(directory, 'keystone.conf').exists():
        set_up(directory, url)
    server.app = initialize_public_application()
    print(url, flush=True)
    server.serve_forever()


def set_up(directory, url):
    Path(directory, 'keystone.conf').write_text(CONFIG.format(directory))
    user = ('--keystone-user', pwd.getpwuid(os.getuid()).pw_name)
    group = ('--keystone-group', grp.getgrgid(os.getgid()).gr_name)
    keystone_manage(directory, 'db_sync')
    keystone_manage(directory, 'fernet_setup', *user, *group)
    keystone_manage(directory, 'credential_setup', *user, *group)
    options = {
        'password': 'admin',
        'region-id': 'RegionOne',
        'public-url': url,
        'internal-url': url,
    }
    keystone_manage(
        directory, 'bootstrap', *(f'--bootstrap-{name}={value}' for name, value in options.items())
    )


def keystone_manage(directory, *command):
    """What the program of that name does; to start it anew takes longer than all it does."""
    argv = ['keystone-manage', '--config-file', f'{directory}/keystone.conf', *command]
    child = multiprocessing.get_context('fork').Process(target=cli.main, args=(argv,))
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(f'{" ".join(argv)} failed')


if __name__ == '__main__':
    directory, port = sys.argv[1:]
    # Keystone would take them for options of its own.
    del sys.argv[1:]
    main(directory, int(port))
