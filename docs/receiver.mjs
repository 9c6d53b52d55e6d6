// A webhook that takes what Marconi sends, and nothing else: eventing.md gives the reasons.

import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

// What the subscription's reply told, without whsec_; after a rotation both secrets.
const SECRETS = process.env.SECRETS.split(' ').map(
  (secret) => Buffer.from(secret.replace(/^whsec_/, ''), 'base64'))
const TOLERANCE = 300 // seconds
const LONGEST = 2 ** 20 // bytes

const seen = new Set() // in earnest: a table, written in the transaction of handle

// Whether one of the secrets signed this call, a short time ago.
function isGenuine(headers, body) {
  const sent = headers['webhook-timestamp'] ?? ''
  if (!/^\d+$/.test(sent) || Math.abs(Date.now() / 1000 - Number(sent)) > TOLERANCE) return false
  const signed = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${sent}.`), body])
  const expected = SECRETS.map((secret) =>
    Buffer.from('v1,' + createHmac('sha256', secret).update(signed).digest('base64')))
  const given = (headers['webhook-signature'] ?? '').split(' ').map((one) => Buffer.from(one))
  return given.some((one) => expected.some(
    (other) => one.length === other.length && timingSafeEqual(one, other)))
}

// Does what the message is for.
function handle(message) {
  console.log(JSON.stringify(message.body))
}

const server = createServer(async (request, response) => {
  const answer = (status) => response.writeHead(status).end()
  const chunks = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length > LONGEST) return answer(413)
    chunks.push(chunk)
  }
  const body = Buffer.concat(chunks)
  if (request.method !== 'POST' || !isGenuine(request.headers, body)) return answer(401)
  const id = request.headers['webhook-id']
  if (!seen.has(id)) {
    handle(JSON.parse(body))
    seen.add(id)
  }
  answer(204)
})
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log(server.address().port))
