package policy

import "testing"

// Documents that the schema and the parser both take.
var goodDocuments = []string{
	around("unmatched: deny"),
	around(`headers: openai`),
	around(`http: {attributes: {user: header X-User, p: path, m: method, h: host, ip: client_ip}}`),
	around(`http: {attributes: {user: [header X-User, header X-Api-Key, client_ip]}}`),
	around(`meters: [images]`),
	around(`prices: [{match: {m: ["a*", b], n: "!c"}, per: {requests: 0.01, tokens: 2}}]`),
	around(`prices: [{per: {tokens: "0.000000000001"}}]`),
	around(`prices: [{match: {m: 4, n: true}, per: {tokens: 1}}]`),
	around(`order: [credit, promo]`),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 60/1d12h, burst: 5, spill: true, fallback: open, cold_start: fresh, takeover: copy}"),
	aroundLimit("{name: a, key: [user, model], algorithm: sliding_window, limit: 5, window: 1h30m, meter: tokens, on_deny: charge, cold_start: drained, takeover: empty}"),
	aroundLimit("{name: a, key: [user], algorithm: calendar_window, limit: 5, window: month, time_zone: Asia/Tokyo, shadow: true}"),
	aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 7d, meter: requests, on_deny: keep, spill: false}"),
	"version: 1\ndomains: {'any Text': {headers: envoy, envoy: {domain: any Text, descriptors: [{key: k, value: v, rate_limit: {unit: DAY, requests_per_unit: 0}, descriptors: [{key: l, rate_limit: null, shadow_mode: true, x_ours: 1}]}]}}}",
}

// Documents that both refuse, each for one mistake.
var badDocuments = []string{
	"domains: {llm: {account: [user]}}",
	"version: 2\ndomains: {llm: {account: [user]}}",
	"version: 1",
	"version: 1\ndomains: {}",
	"version: 1\ndomains: {llm: {account: [user]}}\nmore: 1",
	"version: 1\ndomains: {LLM: {account: [user]}}",
	"version: 1\ndomains: {llm: {}}",
	"version: 1\ndomains: {llm: {account: []}}",
	"version: 1\ndomains: {llm: {account: user}}",
	"version: 1\ndomains: {llm: {account: [user, user]}}",
	around("acount: [user]"),
	around("unmatched: maybe"),
	around("headers: github"),
	around("http: {attributes: {user: X-User}}"),
	around("http: {atributes: {}}"),
	around("http: {attributes: {user: header X User}}"),
	around("http: {attributes: {user: header X-RL-User}}"),
	around("http: {attributes: {user: header Host}}"),
	around("http: {attributes: {user: []}}"),
	around("http: {attributes: {user: [[path]]}}"),
	around("http: {attributes: {user: [path, path, path, path, path, path, path, path, path]}}"),
	around("meters: [tokens]"),
	around("meters: [Images]"),
	around("order: []"),
	around("order: [gift]"),
	around("order: [promo, promo]"),
	around("prices: [{match: {a: b}}]"),
	around("prices: [{per: {}}]"),
	around("prices: [{per: {tokens: 0}}]"),
	around("prices: [{per: {tokens: -1}}]"),
	around("prices: [{per: {tokens: 1000001}}]"),
	around("prices: [{per: {tokens: free}}]"),
	around("prices: [{match: {m: []}, per: {tokens: 1}}]"),
	around(`prices: [{match: {m: ["!a"]}, per: {tokens: 1}}]`),
	around("prices: [{match: {m: {a: b}}, per: {tokens: 1}}]"),
	aroundLimit("{key: [user], algorithm: token_bucket, rate: 1/s}"),
	aroundLimit("{name: A, key: [user], algorithm: token_bucket, rate: 1/s}"),
	aroundLimit("{name: a, algorithm: token_bucket, rate: 1/s}"),
	aroundLimit("{name: a, key: [user], rate: 1/s}"),
	aroundLimit("{name: a, key: [user], algorithm: leaky_bucket, rate: 1/s}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 0/s}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 60/minute}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 60}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, burst: 0}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, burst: 1.5}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, window: 1h}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, spill: maybe}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, spill: true, on_deny: charge}"),
	aroundLimit("{name: a, key: [user], algorithm: fixed_window, limit: 5}"),
	aroundLimit("{name: a, key: [user], algorithm: fixed_window, limit: 5, window: day}"),
	aroundLimit("{name: a, key: [user], algorithm: rolling_log, limit: 5, window: 1w}"),
	aroundLimit("{name: a, key: [user], algorithm: sliding_window, limit: 5, window: 1h, time_zone: UTC}"),
	aroundLimit("{name: a, key: [user], algorithm: calendar_window, limit: 5, window: 1d}"),
	aroundLimit("{name: a, key: [user], algorithm: calendar_window, limit: 5, window: day, time_zone: Local}"),
	aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5}"),
	aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, meter: tokens}"),
	aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, spill: true}"),
	aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, on_deny: charge}"),
	aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, cold_start: fresh}"),
	aroundLimit("{name: a, key: [user], algorithm: concurrency, limit: 5, ttl: 1m, takeover: empty}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, takeover: full}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, fallback: drop}"),
	aroundLimit("{name: a, key: [user], algorithm: token_bucket, rate: 1/s, cold_start: warm}"),
	"version: 1\ndomains: {edge: {envoy: {descriptors: []}, account: [user]}}",
	"version: 1\ndomains: {edge: {envoy: {descriptors: [{value: v}]}}}",
	"version: 1\ndomains: {edge: {envoy: {descriptors: [{key: k, rate_limit: 5}]}}}",
	"version: 1\ndomains: {edge: {envoy: {descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: -1}}]}}}",
}

func TestSchemaAndParserAgree(t *testing.T) {
	t.Parallel()
	v := newValidator(t)
	agree := func(text string, valid bool) {
		t.Helper()
		_, err := Parse("f", []byte(text))
		if f := v.valid(t, text); (err == nil) != valid || (f == "") != valid {
			t.Errorf("want valid %v\nparser: %v\nschema: %s\n%s", valid, err, f, text)
		}
	}
	for _, text := range goodDocuments {
		agree(text, true)
	}
	for _, text := range badDocuments {
		agree(text, false)
	}
}
