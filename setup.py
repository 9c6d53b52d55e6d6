"""Everything is said in setup.cfg, but for the operator's files that a wheel takes along."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithOperatorFiles(build_py):
    """Carry config.py, alembic.ini and migrations/ inside the package.

    So an installed Marconi works from any directory; marconi_api/processes/installation.py finds
    them. In a checkout, and so in an editable installation, they stand beside it.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            return
        files = Path(self.build_lib, 'marconi_api', 'operator_files')
        # What a former build left may have been removed since.
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir(parents=True)
        for name in ('config.py', 'alembic.ini'):
            shutil.copy(name, files)
        shutil.copytree(
            'migrations', files / 'migrations', ignore=shutil.ignore_patterns('__pycache__')
        )


setup(cmdclass={'build_py': BuildWithOperatorFiles})
