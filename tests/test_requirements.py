"""requirements.txt, from which the image is installed, agrees with what is tested."""

import configparser
import re
from pathlib import Path

from marconi_api.processes.installation import CHECKOUT

REQUIREMENTS = CHECKOUT / 'requirements.txt'


def canonical(name: str) -> str:
    """The name of a package, as PEP 503 has names compared."""
    return re.sub(r'[-_.]+', '-', name).lower()


def releases(path: Path = REQUIREMENTS) -> dict[str, str]:
    """The release of each package that a file names."""
    pinned = re.findall(r'^([\w.-]+)==([^\s;]+)', path.read_text(), re.MULTILINE)
    return {canonical(name): version for name, version in pinned}


def test_its_releases_are_those_with_which_all_is_tested() -> None:
    tested = releases(CHECKOUT / 'constraints.txt')

    differ = {
        name: (version, tested[name])
        for name, version in releases().items()
        if name in tested and tested[name] != version
    }
    assert differ == {}, 'make hashes writes requirements.txt anew'
    # Some are needed on another platform, or by another Python, alone; setuptools builds Marconi.
    assert len(set(releases()) - set(tested)) < 8


def test_it_has_all_that_marconi_needs_to_run() -> None:
    settings = configparser.ConfigParser()
    settings.read(CHECKOUT / 'setup.cfg')
    needed = re.findall(r'^([\w.-]+)', settings['options']['install_requires'], re.MULTILINE)

    assert {canonical(name) for name in needed} - set(releases()) == set()
    # Marconi is built by it, without being fetched anew.
    assert 'setuptools' in releases()


def test_each_release_has_the_hashes_of_its_files() -> None:
    entries = re.split(r'\n(?=[a-z])', REQUIREMENTS.read_text().partition('\n')[2])

    assert len(entries) > 30
    for entry in entries:
        assert re.search(r'--hash=sha256:[0-9a-f]{64}', entry), entry
    assert '://' not in REQUIREMENTS.read_text()
