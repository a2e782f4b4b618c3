package policy

// Outline is what a client must know of a domain to find the home of an account, and to decide when it can ask nobody.
type Outline struct {
	Name string
	// Account lists the attributes whose values, in this order, are the account. A domain that is an Envoy tree has none:
	// there each descriptor has its own.
	Account []string
	// Fallback is share, open or closed, when every limit of the domain says the same; else it is empty.
	Fallback string
}

// Outlines returns the outline of each domain, by name. The slices are the policy's own.
func (p *Policy) Outlines() []Outline {
	all := make([]Outline, 0, len(p.names))
	for _, name := range p.names {
		d := p.domain(name)
		all = append(all, Outline{Name: name, Account: d.account, Fallback: d.fallback()})
	}
	return all
}

// fallback returns what all limits of the domain say for the case that no home can be reached, empty when they differ.
func (d *Domain) fallback() string {
	word, first := "", true
	d.each(func(l *limit) {
		switch is := fallbackWords[l.fallback]; {
		case first:
			word, first = is, false
		case word != is:
			word = ""
		}
	})
	return word
}
