// Resizes pictures by the messages of a queue: workers.md.
//
// Usage: go run worker.go resize.go http://127.0.0.1:8888 PROJECT QUEUE

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func handle(message Message) error {
	var job struct{ Picture string }
	if err := json.Unmarshal(message.Body, &job); err != nil {
		return err
	}
	fmt.Println("resized", job.Picture)
	return nil
}

func main() {
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	worker := Worker{
		URL: os.Args[1], Project: os.Args[2], Queue: os.Args[3],
		Handle: handle, TTL: time.Minute, Delay: 30 * time.Second,
	}
	if err := worker.Run(stopping); err != nil {
		log.Fatal(err)
	}
}
