"""docs/kubernetes.yaml says what Marconi understands. It was never applied to a cluster by a test."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from marconi_api.controllers.access.credentials import PROBES
from marconi_api.processes.installation import CHECKOUT, OPERATOR_FILES
from marconi_api.processes.settings import read_settings

PAGE = CHECKOUT / 'docs' / 'kubernetes.yaml'
OBJECTS: dict[str, Any] = {made['kind']: made for made in yaml.safe_load_all(PAGE.read_text())}
POD = OBJECTS['Deployment']['spec']['template']
[MARCONI] = POD['spec']['containers']
[SCHEMA] = OBJECTS['Job']['spec']['template']['spec']['containers']


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Those of the pods, completed."""
    path = tmp_path / 'config.py'
    path.write_text(OBJECTS['ConfigMap']['data']['config.py'])
    monkeypatch.setenv('MARCONI_CONFIG', str(path))
    return read_settings()


def test_its_variables_are_read() -> None:
    known = set(re.findall(r'MARCONI_\w+', (OPERATOR_FILES / 'config.py').read_text()))
    named = {variable['name'] for pod in (MARCONI, SCHEMA) for variable in pod['env']}

    assert named <= known | {'MARCONI_CONFIG'}


def test_a_pod_has_time_to_drain_and_to_stop(settings: Any) -> None:
    server = settings.server

    assert POD['spec']['terminationGracePeriodSeconds'] > server.drain_seconds + server.stop_timeout
    probe = MARCONI['readinessProbe']
    # Three failures in a row are the default until traffic goes elsewhere.
    assert server.drain_seconds > probe['periodSeconds'] * 3


def test_its_ports_are_those_of_the_service(settings: Any) -> None:
    ports = {port['name']: port['containerPort'] for port in MARCONI['ports']}

    assert str(ports['http']) == settings.server.port
    assert settings.server.metrics_address.endswith(f':{ports["metrics"]}')
    assert POD['metadata']['annotations']['prometheus.io/port'] == str(ports['metrics'])
    assert OBJECTS['Service']['spec']['ports'][0]['targetPort'] == 'http'


def test_its_user_is_that_of_the_image() -> None:
    [number] = re.findall(r'useradd --uid (\d+)', (CHECKOUT / 'Dockerfile').read_text())

    for kind in ('Deployment', 'Job'):
        assert OBJECTS[kind]['spec']['template']['spec']['securityContext'] == {
            'runAsNonRoot': True,
            'runAsUser': int(number),
            'runAsGroup': int(number),
            'seccompProfile': {'type': 'RuntimeDefault'},
        }


@pytest.mark.parametrize('probe', ['startupProbe', 'livenessProbe', 'readinessProbe'])
def test_its_probes_need_no_credential(probe: str) -> None:
    assert MARCONI[probe]['httpGet']['path'] in PROBES


def test_labels_lead_to_the_pods() -> None:
    labels = POD['metadata']['labels']

    assert OBJECTS['Deployment']['spec']['selector']['matchLabels'] == labels
    assert OBJECTS['PodDisruptionBudget']['spec']['selector']['matchLabels'] == labels
    assert OBJECTS['Service']['spec']['selector'] == labels
