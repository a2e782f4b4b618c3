"""Asks a Weir cluster over HTTP, each check straight at the home of its account, with the standard library alone:
python3 direct_http.py 127.0.0.1:8080,127.0.0.1:8081 demo user=alice; then each Enter asks again."""
import functools
import http.client
import itertools
import json
import sys
import time
import uuid
from types import SimpleNamespace as Answer

from routing import newer, way

TIMEOUT = 2.5  # seconds for a try: a node gives up on a home that hangs after two, and decides by the fallback
REFRESH = 0.2  # seconds between two refreshes of the view, at least


class Weir:
    def __init__(self, seeds: list[str]) -> None:
        self.seeds, self.view, self.refreshed = seeds, None, -REFRESH
        self.wire = functools.cache(functools.partial(http.client.HTTPConnection, timeout=TIMEOUT))  # kept, by address
        self.refresh(seeds)
        if not self.view:
            raise SystemExit(f"no view from any of {seeds}")

    def ask(self, address: str, method: str, path: str, body: dict | None = None) -> Answer | None:
        wire = self.wire(address)
        try:
            wire.request(method, path, json.dumps(body) if body else None)
            return json.load(wire.getresponse(), object_hook=lambda members: Answer(**members))
        except (OSError, ValueError, http.client.HTTPException):
            wire.close()  # the next request opens it again

    def refresh(self, addresses: list[str]) -> None:
        for address in addresses if time.monotonic() >= self.refreshed + REFRESH else []:
            view, self.refreshed = self.ask(address, "GET", "/v1/view"), time.monotonic()
            if hasattr(view, "epoch") and newer(view, self.view):
                self.view = view
                break

    def check(self, domain: str, attributes: dict[str, str]) -> tuple[Answer, str]:
        """The decision, and the node that was asked. Both tries have one key, so the second takes nothing twice."""
        question = {"domain": domain, "attributes": attributes, "idempotency_key": str(uuid.uuid4())}
        for again, member in enumerate(way(self.view, domain, attributes)[:2]):
            answer = self.ask(member.http, "POST", "/v1/check", question)
            if hasattr(answer, "verdict"):
                if again or answer.epoch > self.view.epoch or answer.policy_version > self.view.policy_version:
                    self.refresh([member.http])
                return answer, member.name
            if answer and answer.status < 500:
                raise SystemExit(answer.detail)  # the same on every node
        self.refresh(self.seeds)
        return Answer(verdict="DENY", reason="FALLBACK_CLOSED", home="nobody"), "nobody"


if __name__ == "__main__":
    weir = Weir(sys.argv[1].split(","))
    for _ in itertools.chain([None], sys.stdin):
        d, asked = weir.check(sys.argv[2], dict(pair.split("=", 1) for pair in sys.argv[3:]))
        print(d.verdict, d.reason, "asked", asked, "home", d.home, "view", weir.view.epoch)
