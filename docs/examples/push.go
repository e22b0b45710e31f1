// Push a record and find it again: push.go APP MESSAGE, with MSCP_LOG_URL and MSCP_LOG_TOKEN set.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

func call(path, key string, body, answer any) {
	text, _ := json.Marshal(body)
	for tries := 0; tries < 10; tries++ {
		request, _ := http.NewRequest("POST", os.Getenv("MSCP_LOG_URL")+path, bytes.NewReader(text))
		request.Header.Set("Authorization", "Bearer "+os.Getenv("MSCP_LOG_TOKEN"))
		request.Header.Set("Content-Type", "application/json")
		if key != "" {
			request.Header.Set("Idempotency-Key", key)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		said, _ := io.ReadAll(response.Body)
		response.Body.Close()
		switch response.StatusCode {
		case 200, 202:
			_ = json.Unmarshal(said, answer)
			return
		case 429, 503:
			seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
			time.Sleep(time.Duration(seconds) * time.Second)
		default: // what is wrong with it is in the answer
			log.Fatal(string(said))
		}
	}
	log.Fatal("the server takes nothing")
}

type m = map[string]any

func main() {
	app, message, now := os.Args[1], os.Args[2], time.Now().UnixMicro()
	record := m{"timestemp": now, "appid": app, "type": "applog", "message": message,
		"annotations": []m{{"key": "level", "value": "info"}}}
	// With the same key on each try it is stored once, though an answer was lost.
	call("/api/apps/"+app+"/log", fmt.Sprintf("%s-%d", app, now), []m{record}, &m{})
	query := m{"bool": m{"filter": []m{{"term": m{"appid": app}}, {"match_phrase": m{"message": message}}}}}
	var found struct {
		Hits struct {
			Hits []struct {
				Source m `json:"_source"`
			}
		}
	}
	for len(found.Hits.Hits) == 0 {
		time.Sleep(200 * time.Millisecond) // found within 2 s
		call("/api/local/log/_search", "", m{"query": query}, &found)
	}
	source := found.Hits.Hits[0].Source
	fmt.Println(source["@timestamp"], source["message"])
}
