// Resizes pictures by the messages of a queue: workers.md.
//
// Usage: node resize.mjs http://127.0.0.1:8888 PROJECT QUEUE

import { Worker } from './worker.mjs'

async function handle(message) {
  console.log(`resized ${message.body.picture}`)
}

const [url, project, queue] = process.argv.slice(2)
const worker = new Worker(url, project, queue, handle)
process.on('SIGTERM', () => worker.stop())
process.on('SIGINT', () => worker.stop())
await worker.run()
