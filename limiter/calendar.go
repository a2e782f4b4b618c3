package limiter

import (
	"strconv"
	"time"
)

// Calendar is the length of a CalendarWindow.
type Calendar uint8

const (
	// Day is from midnight to midnight, 23 or 25 hours where clocks are put forward or back.
	Day Calendar = iota
	// Week begins on Monday.
	Week
	// Month begins on the 1st.
	Month
	// Year begins on the 1st of January.
	Year
)

// String returns the name that policies use.
func (c Calendar) String() string {
	switch c {
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	case Year:
		return "year"
	}
	return "calendar(" + strconv.Itoa(int(c)) + ")"
}

// end returns when the window that runs at now ends, in Unix nanoseconds: at the first instant of the date that the next
// one begins with. Where clocks leave that date out, it is the first instant after it; where they are put back across it,
// the next window goes on.
func (c Calendar) end(now int64, zone *time.Location) int64 {
	if zone == nil {
		zone = time.UTC
	}
	y, m, d := time.Unix(0, now).In(zone).Date()
	end := c.next(y, m, d, zone)
	if end.UnixNano() <= now {
		y, m, d = time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC).Date()
		end = c.next(y, m, d, zone)
	}
	return end.UnixNano()
}

// next returns when the window ends that the date is in.
func (c Calendar) next(y int, m time.Month, d int, zone *time.Location) time.Time {
	switch c {
	case Day:
		d++
	case Week:
		weekday := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Weekday()
		d += 7 - int(weekday+6)%7
	case Month:
		m, d = m+1, 1
	case Year:
		y, m, d = y+1, time.January, 1
	}
	return midnight(y, m, d, zone)
}

// midnight returns the first instant of a date. time.Date says little where midnight comes twice or never.
func midnight(y int, m time.Month, d int, zone *time.Location) time.Time {
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	from, to := t.ZoneBounds()
	wall := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()
	_, offset := t.Zone()
	switch shown := t.Unix() + int64(offset); {
	case shown < wall:
		return to
	case shown > wall:
		return from
	case from.IsZero():
		return t
	}
	_, before := from.Add(-1).Zone()
	if first := time.Unix(wall-int64(before), 0).In(zone); first.Before(from) {
		return first
	}
	return t
}
