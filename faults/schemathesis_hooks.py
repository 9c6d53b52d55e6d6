"""What schemathesis must know to make the requests of Marconi's document; ``hostile`` has it read this."""

import schemathesis

for _type in ('openstack-marconi-v2.0-json-patch', 'openstack-messaging-v2.0-json-patch'):
    schemathesis.serializer.alias(f'application/{_type}', 'application/json')
