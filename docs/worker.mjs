// A worker that loses nothing, for Node 20.3 or newer: workers.md gives the reasons.

import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'

// Has the messages of a queue handled, one after the other, until it is stopped.
export class Worker {
  // ttl: seconds for which a claim holds its messages. delay: seconds until a message whose handling
  // failed is ready again.
  constructor(url, project, queue, handle, { ttl = 60, delay = 30 } = {}) {
    Object.assign(this, { url, handle, ttl, delay })
    this.claims = `/v2/queues/${encodeURIComponent(queue)}/claims`
    this.headers = {
      'Client-ID': randomUUID(), 'X-Project-Id': project, 'Content-Type': 'application/json'
    }
    this.stopping = new AbortController()
  }

  // Claims no more, finishes the message in hand, gives the others back.
  stop() {
    this.stopping.abort()
  }

  get isStopping() {
    return this.stopping.signal.aborted
  }

  // Claims messages, and has them handled.
  async run() {
    while (!this.isStopping) {
      const began = performance.now()
      const messages = await this.claim()
      if (messages.length) await this.work(messages, began + this.ttl * 1000)
      // An empty answer at once: nothing waits at the moment.
      else if (!this.isStopping && performance.now() < began + 1000) await pause(1000)
    }
  }

  // Up to ten messages; waits for the first one.
  async claim() {
    try {
      const answer = await this.send(
        'POST', `${this.claims}?limit=10&wait=20`, { ttl: this.ttl }, 30, this.stopping.signal)
      return answer ? answer.messages : []
    } catch (error) {
      if (this.isStopping) return []
      throw error
    }
  }

  // Handles the messages of one claim, which it renews three times in a ttl.
  async work(messages, heldUntil) {
    const claim = `${this.claims}/${messages[0].href.split('claim_id=')[1]}`
    const heart = setInterval(async () => {
      const end = performance.now() + this.ttl * 1000
      try {
        await this.send('PATCH', claim, { ttl: this.ttl })
        heldUntil = end
      } catch { /* The next beat tries again. */ }
    }, this.ttl * 1000 / 3)
    try {
      for (const message of messages) {
        // Another worker may hold it by then.
        if (this.isStopping || performance.now() >= heldUntil) break
        await this.judge(message)
      }
    } finally {
      clearInterval(heart)
    }
    // What was not begun is ready again.
    await this.send('DELETE', claim, undefined, 30)
  }

  // Handles a message; deletes it, or gives it back if that failed.
  async judge(message) {
    const [path, query] = message.href.split('?')
    try {
      await this.handle(message)
    } catch (failure) {
      console.error(`message ${message.id}: ${failure}`)
      await this.settle(message, 'POST', `${path}/release?${query}`, { delay: this.delay })
      return
    }
    await this.settle(message, 'DELETE', message.href)
  }

  // Tells the service what became of a message.
  async settle(message, method, path, document) {
    try {
      await this.send(method, path, document, 30)
    } catch (error) {
      if (!(error.status < 500)) throw error
      console.error(`message ${message.id} may be handled again: ${error.message}`)
    }
  }

  // The document of the answer; while the service cannot answer, asks again every second.
  async send(method, path, document, tries = 1, signal = undefined) {
    const limit = AbortSignal.timeout(40_000)
    const options = {
      method,
      headers: this.headers,
      body: document && JSON.stringify(document),
      signal: signal ? AbortSignal.any([signal, limit]) : limit
    }
    for (;;) {
      try {
        const answer = await fetch(this.url + path, options)
        const text = await answer.text()
        if (answer.ok) return text && JSON.parse(text)
        throw Object.assign(new Error(`${answer.status} ${text}`), { status: answer.status })
      } catch (error) {
        tries -= 1
        if (!tries || signal?.aborted || error.status < 500) throw error
      }
      await pause(1000)
    }
  }
}
