package transport_test

import (
	"strings"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestRLSWithoutARuleIsOKWithoutALimit(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(
			row{of("nobody=1"), "OK: OK 0"},
			row{of("app=1"), "OK: OK 0"},
			row{of("user=a", "ip=1"), "OK: OK 0"},
			row{of(), "OK: OK 0"},
		)
		unknown := d.call(&rlsv3.RateLimitRequest{Domain: "elsewhere", Descriptors: []*ratelimitv3.RateLimitDescriptor{of("user=a"), of("user=b")}})
		if got := words(unknown); got != "OK: OK 0, OK 0" {
			t.Errorf("an unknown domain: %s", got)
		}
		if len(unknown.GetResponseHeadersToAdd()) != 0 || unknown.GetDynamicMetadata() != nil || unknown.GetRawBody() != nil {
			t.Errorf("an answer without a limit says more: %v", unknown)
		}
	})
}

func TestRLSRefusesAnEmptyDomainAndNoDescriptors(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		for _, c := range []struct {
			r    *rlsv3.RateLimitRequest
			want string
		}{
			{&rlsv3.RateLimitRequest{Descriptors: []*ratelimitv3.RateLimitDescriptor{of("a=b")}}, "rate limit domain must not be empty"},
			{&rlsv3.RateLimitRequest{Domain: "edge"}, "rate limit descriptor list must not be empty"},
			{&rlsv3.RateLimitRequest{Domain: "edge", Descriptors: make([]*ratelimitv3.RateLimitDescriptor, 1001)}, "1001 descriptors"},
		} {
			_, err := d.client.ShouldRateLimit(d.t.Context(), c.r)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		}
	})
}

func TestRLSCountsDeniedHits(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(
			row{of("user=a"), "OK: OK 2 3/MINUTE per-user"},
			row{of("user=a"), "OK: OK 1 3/MINUTE per-user"},
			row{of("user=a"), "OK: OK 0 3/MINUTE per-user"},
			row{of("user=a", "+0"), "OK: OK 0 3/MINUTE per-user"},
			row{of("user=a"), "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE per-user"},
			row{of("user=a", "+0"), "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE per-user"},
			row{of("user=b", "+0"), "OK: OK 3 3/MINUTE per-user"},
		)
		time.Sleep(time.Minute)
		d.wants(row{of("user=a", "+0"), "OK: OK 3 3/MINUTE per-user"})
	})
}

func TestRLSRecordsAChargePastTheLimit(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(
			row{of("user=a", "+0"), "OK: OK 3 3/MINUTE per-user"},
			row{of("user=a", "+100"), "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE per-user"},
			row{of("user=a", "+0"), "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE per-user"},
			row{of("user=a", "-98"), "OK: OK 1 3/MINUTE per-user"}, // all 100 are there to be given back
		)
	})
}

func TestRLSTakesHitsFromTheDescriptorThenTheCallThenOne(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		r := &rlsv3.RateLimitRequest{Domain: "edge", HitsAddend: 4, Descriptors: []*ratelimitv3.RateLimitDescriptor{of("path=a"), of("path=b", "+1"), of("path=c", "+0")}}
		if got := words(d.call(r)); got != "OK: OK 6 10/HOUR per-path, OK 9 10/HOUR per-path, OK 10 10/HOUR per-path" {
			t.Error(got)
		}
	})
}

func TestRLSCountsToTheLastUint32AndBeyond(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(
			row{of("huge=a", "+4294967295"), "OK: OK 0 4294967295/SECOND"},
			row{of("huge=a"), "OVER_LIMIT: OVER_LIMIT 0 4294967295/SECOND"},
			row{of("huge=b", "+1"), "OK: OK 4294967294 4294967295/SECOND"},
			row{of("user=a", "+18446744073709551615"), "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE per-user"},
			row{of("user=a", "-18446744073709551615"), "OK: OK 3 3/MINUTE per-user"},
			row{of("banned=a", "+0"), "OK: OK 0 0/SECOND"},
			row{of("banned=a"), "OVER_LIMIT: OVER_LIMIT 0 0/SECOND"},
		)
	})
}

func TestRLSUnlimitedHasNoLimitAndTheMostLeft(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(row{of("user=root", "+100"), "OK: OK 4294967295"}, row{of("user=root"), "OK: OK 4294967295"})
	})
}

func TestRLSShadowModeRefusesNothingAndTellsTheNumbers(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(row{of("shy=a"), "OK: OK 0 1/MINUTE"}, row{of("shy=a"), "OK: OK 0 1/MINUTE"}, row{of("shy=a", "-1"), "OK: OK 0 1/MINUTE"}, row{of("shy=a", "-1"), "OK: OK 1 1/MINUTE"})
	})
}

func TestRLSMatchesWildcardsAndSharesThresholds(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(
			row{of("user=bot-1"), "OK: OK 1 2/MINUTE"},
			row{of("user=bot-2"), "OK: OK 0 2/MINUTE"},
			row{of("user=bot-3"), "OVER_LIMIT: OVER_LIMIT 0 2/MINUTE"},
			row{of("user=bob"), "OK: OK 2 3/MINUTE per-user"},
			row{of("app=x", "user=bot-1"), "OK: OK 1 2/WEEK"},
			row{of("app=y", "user=bot-1"), "OK: OK 1 2/WEEK"},
		)
	})
}

// own gives a descriptor a limit of its own.
func own(d *ratelimitv3.RateLimitDescriptor, count uint32, unit typev3.RateLimitUnit, multiplier ...uint32) *ratelimitv3.RateLimitDescriptor {
	d.Limit = &ratelimitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: count, Unit: unit}
	for _, m := range multiplier {
		d.Limit.UnitMultiplier = wrapperspb.UInt32(m)
	}
	return d
}

func TestRLSOverrideSharesTheCounterAndIsNeverAShadow(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(
			row{of("user=a", "+3"), "OK: OK 0 3/MINUTE per-user"},
			row{own(of("user=a"), 5, typev3.RateLimitUnit_MINUTE), "OK: OK 1 5/MINUTE"},
			row{own(of("user=a"), 4, typev3.RateLimitUnit_MINUTE), "OVER_LIMIT: OVER_LIMIT 0 4/MINUTE"},
			row{own(of("user=a"), 4, typev3.RateLimitUnit_HOUR), "OK: OK 3 4/HOUR"},
			row{own(of("user=a"), 4, typev3.RateLimitUnit_MINUTE, 5), "OK: OK 3 4/MINUTEx5"},
			row{own(of("shy=a", "+2"), 1, typev3.RateLimitUnit_MINUTE), "OVER_LIMIT: OVER_LIMIT 0 1/MINUTE"},
			row{own(of("user=root", "+2"), 1, typev3.RateLimitUnit_MINUTE), "OVER_LIMIT: OVER_LIMIT 0 1/MINUTE"},
			row{own(of("nobody=a"), 1, typev3.RateLimitUnit_YEAR), "OK: OK 0 1/YEAR"},
		)
		unknown := d.call(&rlsv3.RateLimitRequest{Domain: "elsewhere", Descriptors: []*ratelimitv3.RateLimitDescriptor{own(of("user=a"), 0, typev3.RateLimitUnit_DAY)}})
		if got := words(unknown); got != "OK: OK 0" {
			t.Errorf("an unknown domain: %s", got)
		}
		for _, c := range []struct {
			descriptor *ratelimitv3.RateLimitDescriptor
			want       string
		}{
			{own(of("user=a"), 1, typev3.RateLimitUnit_UNKNOWN), "has the unit UNKNOWN"},
			{own(of("user=a"), 1, typev3.RateLimitUnit(300)), "has the unit 300"},
			{own(of("user=a"), 1, typev3.RateLimitUnit_DAY, 0), "has the unit_multiplier 0"},
			{own(of("user=a"), 1, typev3.RateLimitUnit_YEAR, 4294967295), "has the unit_multiplier 4294967295"},
			{own(of("user=a"), 1, typev3.RateLimitUnit_YEAR, 11), "up to 3660 days"},
		} {
			_, err := d.client.ShouldRateLimit(d.t.Context(), &rlsv3.RateLimitRequest{Domain: "edge", Descriptors: []*ratelimitv3.RateLimitDescriptor{of("path=/"), c.descriptor}})
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		}
		d.wants(row{of("path=/", "+0"), "OK: OK 10 10/HOUR per-path"}) // an invalid call counts nothing
	})
}

func TestRLSNegativeHitsGiveBack(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		d.wants(
			row{of("user=a", "+2"), "OK: OK 1 3/MINUTE per-user"},
			row{of("user=a", "-2"), "OK: OK 3 3/MINUTE per-user"},
			row{of("user=a", "-2"), "OK: OK 3 3/MINUTE per-user"},
			row{of("user=a", "-0"), "OK: OK 3 3/MINUTE per-user"},
			row{of("user=a", "+4"), "OVER_LIMIT: OVER_LIMIT 0 3/MINUTE per-user"},
		)
	})
}

func TestRLSDurationUntilResetIsWholeSecondsAndNeverZero(t *testing.T) {
	t.Parallel()
	rls(t, rlsPolicy, asIs, func(d *door) {
		reset := func(key string, want int64) {
			t.Helper()
			got := d.ask(of(key + "=a")).GetStatuses()[0].GetDurationUntilReset()
			if got.GetSeconds() != want || got.GetNanos() != 0 {
				t.Errorf("%s at %s: %v, want %d s", key, time.Now().UTC(), got, want)
			}
		}
		const day = 24 * 60 * 60
		now := time.Now().Unix()
		reset("second", 1)
		reset("user", 60)
		reset("month", 30*day-now%(30*day))
		reset("year", 365*day-now%(365*day))
		time.Sleep(90*time.Second + 999*time.Millisecond)
		now += 90
		reset("second", 1)
		reset("user", 30)
		reset("login", day-90)
		reset("month", 30*day-now%(30*day))
		if got := d.ask(of("app=a", "user=a")).GetStatuses()[0].GetDurationUntilReset().GetSeconds(); got != 7*day-now%(7*day) {
			t.Errorf("week: %d", got)
		}
		if got := d.ask(own(of("user=b"), 1, typev3.RateLimitUnit_MINUTE, 5)).GetStatuses()[0].GetDurationUntilReset().GetSeconds(); got != 210 {
			t.Errorf("five minutes: %d", got)
		}
	})
}
