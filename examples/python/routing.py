"""The routing rule of docs/clients.md: which member of a view decides for a request. All of it, in pure Python."""
import string
import struct
from typing import Any

PARTITIONS = 4096
ACCOUNT_BYTES_MAX = 256
PLAIN = (string.ascii_letters + string.digits + "._@-").encode()
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9  # xxHash's own primes
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MASK = (1 << 64) - 1


def way(view: Any, domain: str, attributes: dict[str, str]) -> list[Any]:
    """The living members of a view in the order to ask them: the account's home, its deputy, all others."""
    names = next((d.account for d in view.domains if d.name == domain), [])
    try:
        if (view.hash, view.partitions) != ("xxhash64", PARTITIONS):
            raise ValueError("this rule is not the cluster's")
        p = partition(domain, account_id([attributes.get(name, "") for name in names]))
        owners = [view.homes[p], view.deputies[p]]
    except ValueError:  # no account can be told from this: any node says what is wrong, or knows a newer policy
        owners = []
    order = owners + [i for i in range(len(view.members)) if i not in owners]
    return [view.members[i] for i in order if i < len(view.members) and view.members[i].alive]  # 65535 is none


def newer(view: Any, than: Any) -> bool:
    """Whether a view may take the place of another: who is ahead is never turned back."""
    return not than or (view.epoch, view.policy_version) >= (than.epoch, than.policy_version)


def account_id(values: list[str]) -> str:
    """The account of these values, which stand in the order in which the domain names their attributes."""
    account = "~".join("".join(chr(b) if b in PLAIN else f"={b:02X}" for b in value.encode()) for value in values)
    if not values or "" in values or len(account) > ACCOUNT_BYTES_MAX:
        raise ValueError(f"no account has the values {values}")
    return account


def partition(domain: str, account: str) -> int:
    return xxhash64(domain.encode() + b"\0" + account.encode()) % PARTITIONS


def rotate(x: int, bits: int) -> int:
    """x modulo 2**64, rotated left. Only here and at the end do numbers need to be cut to 64 bits."""
    return (x & MASK) << bits & MASK | (x & MASK) >> 64 - bits


def stir(lane: int, word: int) -> int:
    return rotate(lane + word * P2, 31) * P1


def xxhash64(text: bytes) -> int:
    """XXH64 of the xxHash specification, with seed 0."""
    lanes, total, whole = [P1 + P2, P2, 0, -P1], P5, len(text) - len(text) % 32
    for block in struct.iter_unpack("<4Q", text[:whole]):
        lanes = [stir(lane, word) for lane, word in zip(lanes, block)]
    if whole:
        total = sum(map(rotate, lanes, (1, 7, 12, 18)))
        for lane in lanes:
            total = (total ^ stir(0, lane)) * P1 + P4
    total, rest = total + len(text), text[whole:]
    while len(rest) >= 8:
        total, rest = rotate(total ^ stir(0, int.from_bytes(rest[:8], "little")), 27) * P1 + P4, rest[8:]
    if len(rest) >= 4:
        total, rest = rotate(total ^ int.from_bytes(rest[:4], "little") * P1, 23) * P2 + P3, rest[4:]
    for byte in rest:
        total = rotate(total ^ byte * P5, 11) * P1
    for shift, prime in ((33, P2), (29, P3), (32, 1)):
        total = ((total & MASK) ^ (total & MASK) >> shift) * prime
    return total & MASK
