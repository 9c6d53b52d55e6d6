"""`marconi completion`."""

import shutil
import subprocess

import pytest


@pytest.mark.parametrize(
    ('typed', 'offered'),
    [
        ('mig', 'migrate'),
        ('red', 'redrive'),
        ('peek --sta', '--state'),
        ('redrive --dry', '--dry-run'),
    ],
)
def test_bash_completes_commands_and_options(marconi, tmp_path, typed, offered):
    script = tmp_path / 'completion'
    script.write_text(marconi('completion', 'bash').stdout)
    words = ['marconi', *typed.split()]

    done = subprocess.run(
        [
            'bash',
            '-c',
            f'source {script}; COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1};'
            ' COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE};'
            " function=$(complete -p marconi | sed 's/.*-F \\([^ ]*\\).*/\\1/');"
            f' $function marconi {words[-1]} {words[-2]}; echo "${{COMPREPLY[*]}}"',
        ],
        capture_output=True,
        text=True,
    )

    assert done.stdout.split() == [offered], done.stderr


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_the_shell_can_read_what_is_printed(marconi, tmp_path, shell):
    script = tmp_path / 'completion'
    done = marconi('completion', shell)
    script.write_text(done.stdout)

    assert (done.returncode, done.stderr) == (0, '')
    assert 'redrive' in done.stdout
    if not shutil.which(shell):
        pytest.skip(f'{shell} is not installed here')
    subprocess.run([shell, '-n', script], check=True)


def test_another_shell_is_wrong_use(marconi):
    done = marconi('completion', 'sh')

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, '', 1)
