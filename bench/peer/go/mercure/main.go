// A Mercure hub that keeps no history and writes no log, nor a heartbeat. Usage: mercure PORT, the key of all tokens in MERCURE_KEY.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/dunglas/mercure"
)

func main() {
	key := []byte(os.Getenv("MERCURE_KEY"))
	hub, err := mercure.NewHub(context.Background(),
		mercure.WithPublisherJWT(key, "HS256"),
		mercure.WithSubscriberJWT(key, "HS256"),
		mercure.WithTransport(mercure.NewLocalTransport(mercure.NewSubscriberList(mercure.DefaultSubscriberListCacheSize))),
		mercure.WithLogger(slog.New(slog.DiscardHandler)),
		mercure.WithHeartbeat(0),
	)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], hub))
}
