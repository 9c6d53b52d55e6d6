"""The defects of the fault campaign can be put into the sources as they are."""

import pytest

from faults.checker import VERDICTS
from faults.defects import DEFECTS, changed
from marconi_api.processes.installation import CHECKOUT

SOURCES = {
    '.'.join(path.relative_to(CHECKOUT).with_suffix('').parts): path.read_text()
    for path in (CHECKOUT / 'marconi_api').rglob('*.py')
}


@pytest.mark.parametrize('name', DEFECTS)
def test_each_change_of_a_defect_has_its_text_in_some_module(name: str) -> None:
    for change in DEFECTS[name].changes:
        assert any(
            change.old in source for module, source in SOURCES.items() if change.concerns(module)
        ), change


@pytest.mark.parametrize('name', DEFECTS)
def test_sources_with_a_defect_can_be_compiled(name: str) -> None:
    for module, source in SOURCES.items():
        with_defect = changed(module, source, DEFECTS[name].changes)
        if with_defect != source:
            compile(with_defect, module, 'exec')


@pytest.mark.parametrize('name', DEFECTS)
def test_a_defect_names_verdicts_of_the_checker(name: str) -> None:
    assert DEFECTS[name].found_as
    assert set(DEFECTS[name].found_as) <= set(VERDICTS)
