"""The tour of a user of boto3 1.28, which speaks SQS's query protocol; run in its own environment.

Usage: boto3_query.py URL KEY SECRET. Prints `ok` at the end; anything that differs is an error.
"""

import sys
from threading import Timer

import boto3
from botocore.exceptions import ClientError


def main(url, key, secret):
    sqs = boto3.client(
        'sqs',
        endpoint_url=url,
        region_name='us-east-1',
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    assert sqs.meta.service_model.protocol == 'query'

    dead = sqs.create_queue(QueueName='dead', tags={'team': 'a'})['QueueUrl']
    assert sqs.list_queue_tags(QueueUrl=dead)['Tags'] == {'team': 'a'}
    sqs.tag_queue(QueueUrl=dead, Tags={'cost': 'b'})
    sqs.untag_queue(QueueUrl=dead, TagKeys=['team'])
    assert sqs.list_queue_tags(QueueUrl=dead)['Tags'] == {'cost': 'b'}
    arn = attributes(sqs, dead)['QueueArn']
    policy = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": 1}}'
    jobs = sqs.create_queue(QueueName='jobs', Attributes={'RedrivePolicy': policy})['QueueUrl']
    assert sorted(sqs.list_queues()['QueueUrls']) == [dead, jobs]
    assert sqs.get_queue_url(QueueName='jobs')['QueueUrl'] == jobs
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)['queueUrls'] == [jobs]
    sqs.set_queue_attributes(QueueUrl=jobs, Attributes={'VisibilityTimeout': '0'})
    assert attributes(sqs, jobs)['VisibilityTimeout'] == '0'

    # A letter becomes dead, and is moved back.
    sent = sqs.send_message(
        QueueUrl=jobs,
        MessageBody='grüße\r\n<🐇>',
        MessageAttributes={
            'text': {'DataType': 'String', 'StringValue': 'ü'},
            'bytes': {'DataType': 'Binary', 'BinaryValue': b'\x00\x01\xff'},
        },
    )
    [message] = sqs.receive_message(
        QueueUrl=jobs, MessageAttributeNames=['All'], AttributeNames=['All']
    )['Messages']
    assert message['Body'] == 'grüße\r\n<🐇>'
    assert message['MessageAttributes']['bytes']['BinaryValue'] == b'\x00\x01\xff'
    assert message['MD5OfMessageAttributes'] == sent['MD5OfMessageAttributes']
    assert message['Attributes']['ApproximateReceiveCount'] == '1'
    assert 'Messages' not in sqs.receive_message(QueueUrl=jobs)
    [letter] = sqs.receive_message(QueueUrl=dead, VisibilityTimeout=0)['Messages']
    assert letter['MessageId'] == message['MessageId']
    sqs.start_message_move_task(SourceArn=arn)
    [task] = sqs.list_message_move_tasks(SourceArn=arn)['Results']
    assert task['SourceArn'] == arn
    assert sqs.receive_message(QueueUrl=jobs, WaitTimeSeconds=10)['Messages']

    # Batches, and a consumer that waits.
    entries = [{'Id': str(number), 'MessageBody': f'body {number}'} for number in range(10)]
    sent = sqs.send_message_batch(QueueUrl=dead, Entries=entries)
    assert [one['Id'] for one in sent['Successful']] == [str(number) for number in range(10)]
    found = sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10)['Messages']
    assert [one['Body'] for one in found] == [f'body {number}' for number in range(10)]
    held = [
        {'Id': str(place), 'ReceiptHandle': one['ReceiptHandle']} for place, one in enumerate(found)
    ]
    hidden = [{**one, 'VisibilityTimeout': 60} for one in held]
    done = sqs.change_message_visibility_batch(QueueUrl=dead, Entries=hidden)
    assert len(done['Successful']) == 10
    done = sqs.delete_message_batch(QueueUrl=dead, Entries=[*held[:9], {**held[9], 'Id': 'last'}])
    assert [one['Id'] for one in done['Successful']][-1] == 'last'
    producer = Timer(0.3, lambda: sqs.send_message(QueueUrl=dead, MessageBody='late'))
    producer.start()
    [late] = sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=20)['Messages']
    producer.join()
    sqs.change_message_visibility(
        QueueUrl=dead, ReceiptHandle=late['ReceiptHandle'], VisibilityTimeout=9
    )
    sqs.delete_message(QueueUrl=dead, ReceiptHandle=late['ReceiptHandle'])

    sqs.purge_queue(QueueUrl=jobs)
    for url_of_queue in (jobs, dead):
        sqs.delete_queue(QueueUrl=url_of_queue)
    missing = refusal(lambda: sqs.get_queue_url(QueueName='jobs'), sqs.exceptions.QueueDoesNotExist)
    assert missing['Error']['Code'] == 'AWS.SimpleQueueService.NonExistentQueue'
    answer = missing['ResponseMetadata']
    assert answer['RequestId'] == answer['HTTPHeaders']['x-amzn-requestid']
    stranger = boto3.client(
        'sqs',
        endpoint_url=url,
        region_name='us-east-1',
        aws_access_key_id=key,
        aws_secret_access_key='x',
    )
    wrong = refusal(stranger.list_queues, ClientError)
    assert wrong['Error']['Code'] == 'SignatureDoesNotMatch'
    print('ok')


def refusal(call, expected):
    try:
        call()
    except expected as error:
        return error.response
    raise AssertionError('this must be refused')


def attributes(sqs, url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=['All'])['Attributes']


if __name__ == '__main__':
    main(*sys.argv[1:])
