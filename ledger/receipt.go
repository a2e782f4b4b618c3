package ledger

import (
	"fmt"
	"time"
)

// Stamp is a command's place in the log and its time, both given by the leader. Commands packed into one log
// entry share a stamp.
type Stamp struct {
	Term, Index uint64
	Wall        time.Time
}

// Part is how much came from, or went back to, one grant; Grant is empty for Overdraft.
type Part struct {
	Kind   Kind
	Grant  string
	Amount Credits
}

// Receipt answers a command. Repeating the key gives the same receipt, but for Replayed.
type Receipt struct {
	Outcome      Outcome
	Account      string
	Seq          uint64  // of the account's last entry after the command; one more with each entry, no gaps
	Amount       Credits // charged, granted or given back; 0 if nothing was
	BalanceAfter Credits
	Expired      Credits // of a Return: the part of Amount that went to expired grants and cannot be spent
	Parts        []Part  // in the order taken or given back
	Index, Term  uint64
	Wall         time.Time // log time, which never goes back
	Replayed     bool      // the command was done before, this is its first receipt
}

// Account is an account as of a place in the log. It belongs to the caller.
type Account struct {
	ID, Plan   string
	Labels     []Label // by name
	UseCredits bool
	Overdraft  Credits            // how far below zero it may go
	Balance    Credits            // the sum of ByKind; below zero it is owed
	ByKind     [KindCount]Credits // what is effective and unexpired; of Overdraft what is owed, negative
	Grants     []GrantState       // in burn order, those lately used up or expired too
	Seq        uint64
	AsOf       Stamp // Wall is log time
}

// GrantState is what is left of a grant.
type GrantState struct {
	ID                 string
	Kind               Kind
	Priority           uint8
	Amount, Available  Credits
	Effective, Expires time.Time // zero: at once, never
	Expired            bool
}

// Book is a side of an account's double entry. The five always sum to zero.
type Book uint8

// The books of an account.
const (
	Issued    Book = iota // where grants come from: minus all that was ever granted
	Available             // in grants, to be spent
	Overdrawn             // minus what is owed on the overdraft
	Spent                 // charged and not given back
	Expired
	bookCount
)

var bookWords = [bookCount]string{"issued", "available", "overdrawn", "spent", "expired"}

// String returns the book's word.
func (b Book) String() string {
	if b < bookCount {
		return bookWords[b]
	}
	return fmt.Sprintf("book(%d)", uint8(b))
}

// Movement is why an entry was made.
type Movement uint8

// The movements. Expiring and Repaying happen by time alone and are booked when the account is next touched.
const (
	Opening Movement = iota
	Granting
	Debiting
	Returning
	Expiring
	Repaying
	movementCount
)

var movementWords = [movementCount]string{"open", "grant", "debit", "return", "expire", "repay"}

// String returns the movement's word.
func (m Movement) String() string {
	if m < movementCount {
		return movementWords[m]
	}
	return fmt.Sprintf("movement(%d)", uint8(m))
}

// Posting is one line of an entry. Grant is set where the amount is of one grant.
type Posting struct {
	Book   Book
	Grant  string
	Amount Credits
}

// Entry is one movement of an account. Its postings sum to zero.
type Entry struct {
	Seq         uint64 // 1 is the opening
	Movement    Movement
	Key         string // of the command; empty for what time did
	Memo        string
	Postings    []Posting
	Index, Term uint64
	Wall        time.Time // log time
}
