// A worker that loses nothing, for Go 1.19 or newer: workers.md gives the reasons.

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Message is a message under a claim. Its Href names the claim.
type Message struct {
	ID   string          `json:"id"`
	Href string          `json:"href"`
	Body json.RawMessage `json:"body"`
}

// Worker has the messages of a queue handled, one after the other.
type Worker struct {
	URL, Project, Queue string
	Handle              func(Message) error
	TTL                 time.Duration // for which a claim holds its messages
	Delay               time.Duration // until a message whose handling failed is ready again
	client              string
}

// Refused is an answer with a status from 400 to 499: to repeat the request would not help.
type Refused struct{ said string }

func (refused Refused) Error() string { return refused.said }

// Run claims messages and has them handled. When the context ends, it finishes the message in hand
// and gives the others back.
func (worker *Worker) Run(stopping context.Context) error {
	worker.client = newUUID()
	for stopping.Err() == nil {
		began := time.Now()
		messages, err := worker.claim(stopping)
		if stopping.Err() != nil && len(messages) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if len(messages) > 0 {
			err = worker.work(stopping, messages, began.Add(worker.TTL))
		} else if time.Since(began) < time.Second {
			// An empty answer at once: nothing waits at the moment.
			time.Sleep(time.Second)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// claim takes up to ten messages, and waits for the first one.
func (worker *Worker) claim(stopping context.Context) ([]Message, error) {
	var claimed struct{ Messages []Message }
	err := worker.send(stopping, "POST", worker.claims()+"?limit=10&wait=20", worker.terms(), 30, &claimed)
	return claimed.Messages, err
}

func (worker *Worker) claims() string {
	return "/v2/queues/" + url.PathEscape(worker.Queue) + "/claims"
}

func (worker *Worker) terms() any {
	return map[string]int{"ttl": int(worker.TTL.Seconds())}
}

// work handles the messages of one claim, and renews the claim three times in a ttl.
func (worker *Worker) work(stopping context.Context, messages []Message, end time.Time) error {
	_, id, _ := strings.Cut(messages[0].Href, "claim_id=")
	claim := worker.claims() + "/" + id
	var heldUntil atomic.Value
	heldUntil.Store(end)
	beating, still := context.WithCancel(context.Background())
	defer still()
	go worker.beat(beating, claim, &heldUntil)
	for _, message := range messages {
		// Another worker may hold it by then.
		if stopping.Err() != nil || !time.Now().Before(heldUntil.Load().(time.Time)) {
			break
		}
		if err := worker.judge(message); err != nil {
			return err
		}
	}
	still()
	// What was not begun is ready again.
	return worker.send(context.Background(), "DELETE", claim, nil, 30, nil)
}

func (worker *Worker) beat(beating context.Context, claim string, heldUntil *atomic.Value) {
	ticker := time.NewTicker(worker.TTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-beating.Done():
			return
		case <-ticker.C:
		}
		end := time.Now().Add(worker.TTL)
		if worker.send(beating, "PATCH", claim, worker.terms(), 1, nil) == nil {
			heldUntil.Store(end)
		}
	}
}

// judge handles a message, and deletes it, or gives it back if that failed.
func (worker *Worker) judge(message Message) error {
	method, path, document := "DELETE", message.Href, any(nil)
	if failure := worker.Handle(message); failure != nil {
		log.Printf("message %s: %v", message.ID, failure)
		method, path = "POST", strings.Replace(message.Href, "?", "/release?", 1)
		document = map[string]int{"delay": int(worker.Delay.Seconds())}
	}
	err := worker.send(context.Background(), method, path, document, 30, nil)
	if refused, is := err.(Refused); is {
		log.Printf("message %s may be handled again: %v", message.ID, refused)
		return nil
	}
	return err
}

// send reads the answer into document; while the service cannot answer, it asks again every second.
func (worker *Worker) send(
	until context.Context, method, path string, sent any, tries int, document any,
) error {
	content := []byte(nil)
	if sent != nil {
		content, _ = json.Marshal(sent)
	}
	for {
		err := worker.sendOnce(until, method, path, content, document)
		tries--
		if _, is := err.(Refused); err == nil || is || tries == 0 || until.Err() != nil {
			return err
		}
		time.Sleep(time.Second)
	}
}

func (worker *Worker) sendOnce(
	until context.Context, method, path string, content []byte, document any,
) error {
	limited, done := context.WithTimeout(until, 40*time.Second)
	defer done()
	request, err := http.NewRequestWithContext(limited, method, worker.URL+path, bytes.NewReader(content))
	if err != nil {
		return Refused{err.Error()}
	}
	request.Header.Set("Client-ID", worker.client)
	request.Header.Set("X-Project-Id", worker.Project)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode >= 500:
		return fmt.Errorf("%s: %s", answer.Status, text)
	case answer.StatusCode >= 400:
		return Refused{fmt.Sprintf("%s: %s", answer.Status, text)}
	case document == nil || len(text) == 0:
		return nil
	}
	return json.Unmarshal(text, document)
}

func newUUID() string {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		panic(err)
	}
	random[6], random[8] = random[6]&0x0f|0x40, random[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
}
