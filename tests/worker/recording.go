// The worker of docs/worker.go with a handler that says what it does, in lines.
//
// Usage: recording URL QUEUE TTL
//
// The body of a message says what comes of it: {"seconds": 0.1, "fails": true}, which fails the first time.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

var seen = map[string]bool{}

func handle(message Message) error {
	var job struct {
		Seconds float64
		Fails   bool
	}
	if err := json.Unmarshal(message.Body, &job); err != nil {
		return err
	}
	fmt.Println("start", message.ID)
	time.Sleep(time.Duration(job.Seconds * float64(time.Second)))
	if job.Fails && !seen[message.ID] {
		seen[message.ID] = true
		return errors.New("not now")
	}
	fmt.Println("done", message.ID)
	return nil
}

func main() {
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ttl, err := time.ParseDuration(os.Args[3] + "s")
	if err != nil {
		log.Fatal(err)
	}
	worker := Worker{
		URL: os.Args[1], Project: "acme", Queue: os.Args[2],
		Handle: handle, TTL: ttl, Delay: time.Second,
	}
	fmt.Println("ready")
	if err := worker.Run(stopping); err != nil {
		log.Fatal(err)
	}
}
