package policy

import (
	"crypto/sha256"
	"time"
)

// explainBytesMax is how long the record of a decision may be with its explanation, which else stays behind.
const explainBytesMax = 64 << 10

// firstForm is the first decision with a key on its way.
type firstForm struct {
	key      checkKey
	contents [sha256.Size]byte
	left     int64 // ns until it is forgotten
	decision Decision
}

func (f *firstForm) fields(c *coder) {
	c.text(&f.key.domain, wireTextMax)
	c.text(&f.key.account, wireTextMax)
	c.text(&f.key.key, KeyMax)
	c.fixed(f.contents[:])
	c.between(&f.left, 1, leftMax)
	f.decision.fields(c)
}

// append writes the first decision with a key.
func (f *first) append(b []byte, now time.Time) []byte {
	form := firstForm{f.key, f.contents, min(int64(f.until.Sub(now)), leftMax), f.decision}
	c := &coder{b: append(b, kindFirst)}
	if form.fields(c); len(c.b)-len(b) > explainBytesMax && len(f.decision.Explain) > 0 {
		form.decision.Explain = nil
		c.b = append(c.b[:len(b)], kindFirst)
		form.fields(c)
	}
	return c.b
}

func (d *Decision) fields(c *coder) {
	enum(c, &d.Verdict, len(verdictWords))
	enum(c, &d.Reason, len(reasonWords))
	c.text(&d.Message, wireTextMax)
	enum(c, &d.Remedy, len(remedyWords))
	c.int((*int64)(&d.RetryAfter))
	c.int((*int64)(&d.Wait))
	c.text(&d.Ticket, wireTextMax)
	list(c, &d.Degrade, func(a *Attribute) {
		c.text(&a.Name, wireTextMax)
		c.text(&a.Value, wireTextMax)
	})
	list(c, &d.Sources, func(s *Draw) { s.fields(c) })
	list(c, &d.Limits, func(l *LimitState) { l.fields(c) })
	c.text(&d.Refusing, wireTextMax)
	c.text(&d.Reservation, wireTextMax)
	c.uint(&d.PolicyVersion)
	c.text(&d.Home, wireTextMax)
	c.uint(&d.Epoch)
	c.fixed(d.ID[:])
	list(c, &d.Explain, func(s *Step) {
		c.text(&s.Rule, wireTextMax)
		c.text(&s.Result, wireTextMax)
		c.text(&s.Detail, wireTextMax)
	})
	c.flag(&d.Unreplicated)
}

func (d *Draw) fields(c *coder) {
	enum(c, &d.Source, len(sourceWords))
	c.text(&d.Meter, wireTextMax)
	c.int(&d.Amount)
	c.int((*int64)(&d.Credits))
	c.text(&d.Grant, wireTextMax)
}

func (l *LimitState) fields(c *coder) {
	c.text(&l.Name, wireTextMax)
	c.int(&l.Limit)
	c.int((*int64)(&l.Window))
	c.text(&l.Meter, wireTextMax)
	c.int(&l.Remaining)
	c.int((*int64)(&l.Reset))
	c.int((*int64)(&l.Wait))
	for _, is := range [...]*bool{&l.Refused, &l.Shadow, &l.InFlight, &l.Overridden, &l.Spill} {
		c.flag(is)
	}
	c.int(&l.Burst)
	c.text(&l.Fallback, wireTextMax)
}
