package policy

import "strings"

// AttributesOf returns the attributes that name an account of a domain, in the policy's order: what AccountID made the
// id of. Returns ErrInvalid for an unknown domain, for an id that no account of it can have, and for an Envoy tree,
// which has no accounts.
func (p *Policy) AttributesOf(domain, account string) ([]Attribute, error) {
	d, err := p.Domain(domain)
	if err != nil {
		return nil, err
	}
	if d.envoy != nil {
		return nil, invalid("domain `%s` is an Envoy tree, which has no accounts", d.name)
	}
	if !accountID(account, len(d.account)) {
		return nil, invalid("`%s` is no account id of domain `%s`, expected the values of [%s] joined by ~", short(account), d.name, strings.Join(d.account, ", "))
	}
	all := make([]Attribute, len(d.account))
	for i, part := range strings.Split(account, "~") {
		all[i].Name = d.account[i]
		all[i].Value, _ = unescaped(part) // accountID did
	}
	return all, nil
}
