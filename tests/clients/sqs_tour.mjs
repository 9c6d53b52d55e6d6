// The tour of a user of the JavaScript SDK v3 (@aws-sdk/client-sqs); run where that is installed.
//
// Usage: node sqs_tour.mjs URL. Prints `ok` at the end; anything that differs is an error. The SDK
// checks the digest of each body by itself.

import assert from 'node:assert/strict';
import {
  ChangeMessageVisibilityCommand, CreateQueueCommand, DeleteMessageBatchCommand, DeleteMessageCommand,
  DeleteQueueCommand, GetQueueAttributesCommand, GetQueueUrlCommand, ListQueuesCommand,
  QueueDoesNotExist, ReceiveMessageCommand, SendMessageBatchCommand, SendMessageCommand, SQSClient,
} from '@aws-sdk/client-sqs';

const endpoint = process.argv[2];
const sqs = new SQSClient({
  endpoint,
  region: 'us-east-1',
  credentials: { accessKeyId: 'javascript', secretAccessKey: 'any' },
});

const { QueueUrl } = await sqs.send(new CreateQueueCommand({
  QueueName: 'tour', Attributes: { VisibilityTimeout: '60' }, tags: { team: 'web' },
}));
assert.match(QueueUrl, new RegExp(`^${endpoint}/[0-9]{12}/tour$`));
assert.equal((await sqs.send(new GetQueueUrlCommand({ QueueName: 'tour' }))).QueueUrl, QueueUrl);
assert.deepEqual((await sqs.send(new ListQueuesCommand({}))).QueueUrls, [QueueUrl]);

const sent = await sqs.send(new SendMessageCommand({
  QueueUrl,
  MessageBody: 'grüße 🐇',
  MessageAttributes: {
    text: { DataType: 'String', StringValue: 'ü' },
    bytes: { DataType: 'Binary', BinaryValue: new Uint8Array([0, 1, 255]) },
  },
}));
const { Messages: [first] } = await sqs.send(new ReceiveMessageCommand({
  QueueUrl, MessageAttributeNames: ['All'], MessageSystemAttributeNames: ['All'], WaitTimeSeconds: 5,
}));
assert.equal(first.MessageId, sent.MessageId);
assert.equal(first.Body, 'grüße 🐇');
assert.equal(first.MD5OfMessageAttributes, sent.MD5OfMessageAttributes);
assert.deepEqual([...first.MessageAttributes.bytes.BinaryValue], [0, 1, 255]);
assert.equal(first.Attributes.ApproximateReceiveCount, '1');

// Back at once, and received again by another receipt.
const { ReceiptHandle } = first;
await sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 }));
const { Messages: [again] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl }));
assert.equal(again.MessageId, sent.MessageId);
await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: again.ReceiptHandle }));

const Entries = [1, 2, 3].map((number) => ({ Id: `${number}`, MessageBody: `body ${number}` }));
const batch = await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
assert.deepEqual(batch.Successful.map(({ Id }) => Id), ['1', '2', '3']);
const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }));
assert.deepEqual(Messages.map(({ Body }) => Body), ['body 1', 'body 2', 'body 3']);
const deleted = await sqs.send(new DeleteMessageBatchCommand({
  QueueUrl, Entries: Messages.map((message, place) => ({ ...message, Id: `${place}` })),
}));
assert.equal(deleted.Successful.length, 3);
const none = await sqs.send(new ReceiveMessageCommand({ QueueUrl }));
assert.equal(none.Messages, undefined);

const told = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
assert.equal(told.Attributes.VisibilityTimeout, '60');
assert.equal(told.Attributes.ApproximateNumberOfMessages, '0');
await sqs.send(new DeleteQueueCommand({ QueueUrl }));
await assert.rejects(sqs.send(new GetQueueUrlCommand({ QueueName: 'tour' })), (error) => {
  assert(error instanceof QueueDoesNotExist);
  assert.equal(error.$metadata.httpStatusCode, 400);
  assert.equal(typeof error.$metadata.requestId, 'string');
  return true;
});
console.log('ok');
