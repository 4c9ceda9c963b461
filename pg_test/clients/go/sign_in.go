package main

import (
	"context"
	"fmt"
	"log"
	"os"
)

// Prints who signs in, once for itself and once for each argument, on connections that are open at the same time.
func main() {
	ctx := context.Background()
	pool, err := open(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	for range os.Args {
		connection, err := pool.Acquire(ctx)
		if err != nil {
			log.Fatal(err)
		}
		var user string
		if err := connection.QueryRow(ctx, "SELECT current_user").Scan(&user); err != nil {
			log.Fatal(err)
		}
		fmt.Println(user)
	}
}
