package policy

import "strings"

// AttributesOf returns the attributes that name an account of a domain, in the policy's order: what AccountID made the
// id of. In an Envoy tree they are the entries of a descriptor that is counted in the account's bucket. Returns ErrInvalid
// for an unknown domain, for an id that no account of it can have, and, in a tree, for one without a rule or whose end is
// a hash.
func (p *Policy) AttributesOf(domain, account string) ([]Attribute, error) {
	d, err := p.Domain(domain)
	if err != nil {
		return nil, err
	}
	if d.envoy != nil && hashed(account) {
		return nil, invalid("the account `%s` ends in a hash: of which descriptor it is cannot be told from it", short(account))
	}
	if d.envoy != nil {
		entries, err := d.envoy.descriptor(account)
		if err != nil {
			return nil, invalid("%v", err)
		}
		return entries, nil
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
