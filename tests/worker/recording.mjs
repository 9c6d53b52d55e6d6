// The worker of docs/worker.mjs with a handler that says what it does, in lines.
//
// Usage: node recording.mjs WORKER URL QUEUE TTL
//
// The body of a message says what comes of it: {"seconds": 0.1, "fails": true}, which fails the first time.

const [path, url, queue, ttl] = process.argv.slice(2)
const { Worker } = await import(path)
const seen = new Set()

async function handle({ id, body }) {
  console.log(`start ${id}`)
  await new Promise((resolve) => setTimeout(resolve, 1000 * (body.seconds ?? 0)))
  if (body.fails && !seen.has(id)) {
    seen.add(id)
    throw new Error('not now')
  }
  console.log(`done ${id}`)
}

const worker = new Worker(url, 'acme', queue, handle, { ttl: Number(ttl), delay: 1 })
process.on('SIGTERM', () => worker.stop())
console.log('ready')
await worker.run()
