package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

const (
	scrapeTime     = 5 * time.Second
	scrapeBytesMax = 8 << 20
)

// usage is what processes have used since they started, summed up, as their /metrics say.
type usage struct {
	cpu         float64 // seconds
	mallocs     float64
	allocBytes  float64
	resident    float64 // bytes, now
	residentMax float64 // of the largest process, now
}

// usageOf asks each process.
func usageOf(ctx context.Context, httpAddrs []string) (usage, error) {
	var all usage
	for _, addr := range httpAddrs {
		one, err := scrape(ctx, addr)
		if err != nil {
			return usage{}, fmt.Errorf("ask %s what it used: %w", addr, err)
		}
		all.cpu += one.cpu
		all.mallocs += one.mallocs
		all.allocBytes += one.allocBytes
		all.resident += one.resident
		all.residentMax = max(all.residentMax, one.resident)
	}
	return all, nil
}

func scrape(ctx context.Context, addr string) (usage, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return usage{}, err
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return usage{}, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return usage{}, fmt.Errorf("status %d", a.StatusCode)
	}
	return readUsage(io.LimitReader(a.Body, scrapeBytesMax))
}

// readUsage reads the text format of Prometheus. Without the processor time it is an error.
func readUsage(text io.Reader) (u usage, err error) {
	known := false
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a comment
		}
		switch name {
		case "process_cpu_seconds_total":
			u.cpu, known = n, true
		case "go_memstats_mallocs_total":
			u.mallocs = n
		case "go_memstats_alloc_bytes_total":
			u.allocBytes = n
		case "process_resident_memory_bytes":
			u.resident, u.residentMax = n, n
		}
	}
	if err := lines.Err(); err != nil {
		return u, fmt.Errorf("read metrics: %w", err)
	}
	if !known {
		return u, fmt.Errorf("the metrics have no process_cpu_seconds_total")
	}
	return u, nil
}

// ownUsage is what this process, the load generator, has used; nothing where the system does not tell.
func ownUsage() usage {
	var text bytes.Buffer
	metrics.WriteProcessMetrics(&text)
	u, _ := readUsage(&text)
	return u
}

// since is what was used between two readings; memory is that of the second.
func (u usage) since(before usage) usage {
	u.cpu -= before.cpu
	u.mallocs -= before.mallocs
	u.allocBytes -= before.allocBytes
	return u
}

// cost is what each decision took of the servers. None is no cost.
func (u usage) cost(decisions int64) Cost {
	c := Cost{ResidentBytes: int64(u.resident)}
	if decisions > 0 {
		n := float64(decisions)
		c.CPUPerMillion, c.Mallocs, c.AllocBytes = u.cpu/n*1e6, u.mallocs/n, u.allocBytes/n
	}
	return c
}

// Cost is what the servers spent on a decision, all of them together, and beside them the load generator.
type Cost struct {
	CPUPerMillion float64 `json:"cpu_seconds_per_million"` // also microseconds each
	Mallocs       float64 `json:"mallocs"`
	AllocBytes    float64 `json:"alloc_bytes"`
	ResidentBytes int64   `json:"resident_bytes"` // at the end, of all
	Generator     float64 `json:"generator_cpu_seconds_per_million"`
}
