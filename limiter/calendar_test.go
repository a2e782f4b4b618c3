package limiter

import (
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"
)

func zoneOf(t interface{ Fatal(...any) }, name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestCalendarWindowsEndWithTheirDate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		calendar      Calendar
		zone, at, end string
	}{
		{Day, "UTC", "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"},
		{Day, "UTC", "2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z"},
		{Day, "Europe/Berlin", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"}, // 23 hours
		{Day, "Europe/Berlin", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"}, // 25 hours
		{Day, "America/New_York", "2026-11-01T01:30:00-05:00", "2026-11-02T00:00:00-05:00"},
		{Day, "Asia/Kathmandu", "2026-11-01T12:00:00+05:45", "2026-11-02T00:00:00+05:45"},
		{Day, "America/Sao_Paulo", "2018-11-03T12:00:00-03:00", "2018-11-04T01:00:00-02:00"}, // midnight is left out
		{Day, "America/Sao_Paulo", "2018-02-17T23:30:00-02:00", "2018-02-18T00:00:00-03:00"}, // 23:00 comes twice
		{Day, "America/Havana", "2026-10-31T12:00:00-04:00", "2026-11-01T00:00:00-04:00"},    // midnight comes twice
		{Day, "America/Havana", "2026-11-01T00:30:00-05:00", "2026-11-02T00:00:00-05:00"},
		{Day, "America/St_Johns", "2009-10-31T23:30:00-03:30", "2009-11-02T00:00:00-03:30"}, // put back from 00:01 to 23:01
		{Day, "Pacific/Apia", "2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00"},     // the 30th is left out
		{Week, "UTC", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{Week, "UTC", "2026-11-29T23:59:59Z", "2026-11-30T00:00:00Z"},
		{Week, "Europe/Berlin", "2026-10-21T12:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{Month, "UTC", "2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z"},
		{Month, "Europe/Berlin", "2026-12-31T23:59:59+01:00", "2027-01-01T00:00:00+01:00"},
		{Month, "America/St_Johns", "2009-10-31T23:30:00-03:30", "2009-12-01T00:00:00-03:30"},
		{Year, "UTC", "2026-06-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{Year, "Pacific/Auckland", "2026-12-31T23:00:00+13:00", "2027-01-01T00:00:00+13:00"},
	} {
		at, _ := time.Parse(time.RFC3339, c.at)
		end, _ := time.Parse(time.RFC3339, c.end)
		if got := time.Unix(0, c.calendar.end(at.UnixNano(), zoneOf(t, c.zone))); !got.Equal(end) {
			t.Errorf("%v in %s at %s ends %s, want %s", c.calendar, c.zone, c.at, got.In(end.Location()).Format(time.RFC3339), c.end)
		}
	}
	if got := Day.end(5, nil); got != int64(24*time.Hour) {
		t.Errorf("without a zone the day ends at %d", got)
	}
}

// TestCalendarWindowsFollowTheDatesThatClocksShow walks minute by minute until the date has grown past all before it.
func TestCalendarWindowsFollowTheDatesThatClocksShow(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "America/St_Johns", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Beirut"}
	rapid.Check(t, func(t *rapid.T) {
		zone := zoneOf(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		from := time.Unix(rapid.Int64Range(1_000_000_000, 1_900_000_000).Draw(t, "at")/60*60, 0)
		if rapid.Bool().Draw(t, "near a change") {
			if _, change := from.In(zone).ZoneBounds(); !change.IsZero() {
				from = change.Add(time.Duration(rapid.IntRange(-1500, 120).Draw(t, "minutes")) * time.Minute).Truncate(time.Minute)
			}
		}
		shown := func(at time.Time) string { return at.In(zone).Format(time.DateOnly) }
		latest := ""
		for at := from.Add(-26 * time.Hour); !at.After(from); at = at.Add(time.Minute) {
			latest = max(latest, shown(at))
		}
		want := from
		for shown(want) <= latest {
			want = want.Add(time.Minute)
		}
		if got := time.Unix(0, Day.end(from.UnixNano(), zone)); !got.Equal(want) {
			t.Fatalf("%s in %v: the day ends %s, want %s", from.In(zone), zone, got.In(zone), want.In(zone))
		}
	})
}

func TestCalendarWindowAdmitsItsCountADay(t *testing.T) {
	t.Parallel()
	berlin := zoneOf(t, "Europe/Berlin")
	l := &Limit{Algorithm: CalendarWindow, Count: 3, Calendar: Day, Zone: berlin}
	s := NewStore(DefaultConfig())
	noon := time.Date(2026, 10, 25, 12, 0, 0, 0, berlin).UnixNano()
	admits(t, s, noon, l, 1, 3, Taken)
	takes := one(l, 1, 1)
	if o, _ := s.Take(0, noon, takes); o != Refused || takes[0].Wait != 12*time.Hour || takes[0].Reset != 12*time.Hour {
		t.Errorf("%v %+v", o, takes[0])
	}
	admits(t, s, noon+int64(12*time.Hour)-1, l, 1, 1, Refused)
	admits(t, s, noon+int64(12*time.Hour), l, 1, 3, Taken)
}
