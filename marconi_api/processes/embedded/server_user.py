"""The user as whom initdb and postgres run."""

import contextlib
import os
import pwd
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marconi_api.processes.failures import EmbeddedPostgresError


@dataclass(frozen=True)
class ServerUser:
    """The user as whom initdb and postgres run, and as root all that answers requests."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> 'ServerUser':
        """The user of that name, who is the user of this process or one that it can become.

        :raises EmbeddedPostgresError: if there is no such user, or this process cannot become it
        """
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise EmbeddedPostgresError(
                f'there is no user {name}: add it, or change MARCONI_USER'
            ) from None
        if os.geteuid() not in (0, entry.pw_uid):
            raise EmbeddedPostgresError(
                f'only root can run Marconi as user {name}: start it as root or as {name}, '
                'or unset MARCONI_USER'
            )
        return cls(name, entry.pw_uid, entry.pw_gid)

    @classmethod
    def for_cluster(cls, data: Path, name: str | None = None) -> 'ServerUser':
        """The user ``name``, else the one who owns ``data``, else a default one.

        :raises EmbeddedPostgresError: if that user cannot run PostgreSQL on ``data``
        """
        if name is not None:
            user = cls.named(name)
            user.check_owns(data)
            return user
        if os.geteuid() != 0:
            return cls(_user_name(os.geteuid()), os.geteuid(), os.getegid())
        if data.exists() and data.stat().st_uid != 0:
            owner = data.stat()
            return cls(_user_name(owner.st_uid), owner.st_uid, owner.st_gid)
        for name in ('postgres', 'nobody'):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(name, entry.pw_uid, entry.pw_gid)
        raise EmbeddedPostgresError(
            'PostgreSQL does not run as root, and there is no user postgres or nobody: '
            'start Marconi as a plain user'
        )

    @property
    def is_another(self) -> bool:
        """Whether it is not the user of this process, which is then root."""
        return self.uid != os.geteuid()

    def check_owns(self, data: Path) -> None:
        """Make sure that this user may run a server on ``data``, if there are any yet.

        :raises EmbeddedPostgresError: if not
        """
        if self.uid == 0:
            raise EmbeddedPostgresError(
                'PostgreSQL does not run as root: set MARCONI_USER to another user'
            )
        if data.exists() and data.stat().st_uid != self.uid:
            raise EmbeddedPostgresError(
                f'{data} belongs to another user than {self.name}: '
                f'run  chown -R {self.name} {shlex.quote(str(data.parent))}, or change MARCONI_USER'
            )

    def can_read(self, paths: Iterable[str | Path]) -> bool:
        """Whether this user can read all these files."""
        test = 'for path; do test -r "$path" || exit 1; done'
        return self.run(['/bin/sh', '-c', test, 'sh', *map(str, paths)]).returncode == 0

    def take_over(self, directory: Path) -> None:
        """Make ``directory`` this user's, and closed to all others but root."""
        directory.chmod(0o700)
        if not self.is_another:
            return
        os.chown(directory, self.uid, self.gid)
        if self.run(['/bin/sh', '-c', 'cd "$0"', str(directory)]).returncode != 0:
            raise EmbeddedPostgresError(
                f'PostgreSQL runs as user {self.name}, who cannot enter {directory}: set '
                'MARCONI_DATA_DIR to a directory that is not below a closed one'
            )

    def run(self, command: Sequence[str]) -> 'subprocess.CompletedProcess[bytes]':
        """Run a program to its end, away from our directory and environment."""
        return subprocess.run(command, capture_output=True, **self._isolation())

    def start(self, command: Sequence[str], log: Any) -> 'subprocess.Popen[bytes]':
        """Start a program in the same manner, in a session of its own."""
        return subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, **self._isolation()
        )

    def identity(self) -> dict[str, Any]:
        """Options of :class:`subprocess.Popen` with which a program runs as this user."""
        if not self.is_another:
            return {}
        groups = os.getgrouplist(self.name, self.gid)
        return {'user': self.uid, 'group': self.gid, 'extra_groups': groups}

    def environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Our environment, as this user should have it.

        libpq gives up where it may not look for a certificate in the home directory, and what
        is temporary cannot lie in a directory of ours.
        """
        if not self.is_another:
            return dict(ours)
        kept = {name: value for name, value in ours.items() if name != 'TMPDIR'}
        home = pwd.getpwuid(self.uid).pw_dir
        return kept | {'HOME': home, 'USER': self.name, 'LOGNAME': self.name}

    def _isolation(self) -> dict[str, Any]:
        return {
            'stdin': subprocess.DEVNULL,
            # The directory we are in may be closed to that user.
            'cwd': '/',
            # Nothing of the caller's environment (PGDATA, PGHOST, LD_PRELOAD, …) may count.
            'env': {'PATH': '/usr/local/bin:/usr/bin:/bin', 'LC_ALL': 'C'},
            **self.identity(),
        }


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f'PostgreSQL does not run as a user without a name, and user id {uid} has none: '
            'add it to the user database, or set MARCONI_DATABASE_URL'
        ) from None
