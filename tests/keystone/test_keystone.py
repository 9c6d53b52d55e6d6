"""OpenStack's identity service, as it is, says who asks (docs/keystone.md)."""

from tests.keystone.running_keystone import REGION, Keystone


def test_keystone_lets_a_user_in_who_finds_the_service_in_its_catalogue(
    keystone: Keystone,
) -> None:
    keystone.run(
        'service create --name marconi messaging',
        f'endpoint create --region {REGION} messaging public http://127.0.0.1:8888',
    )
    project = keystone.create('project', name='orders')
    ann = keystone.create('user', name='ann', password='of ann')
    keystone.assign('member', ann, project)

    seen = keystone.look_up(keystone.log_in('ann', 'of ann', project='orders'))

    assert seen['project']['id'] == project
    assert {role['name'] for role in seen['roles']} == {'member', 'reader'}
    (service,) = [service for service in seen['catalog'] if service['type'] == 'messaging']
    assert [endpoint['url'] for endpoint in service['endpoints']] == ['http://127.0.0.1:8888']
