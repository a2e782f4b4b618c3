"""Asks a Weir cluster over gRPC, each check straight at the home of its account; `make` generates what it imports:
python3 direct_grpc.py 127.0.0.1:9080,127.0.0.1:9081 demo user=alice; then each Enter asks again."""
import functools
import itertools
import sys
import threading
import time
import uuid

import grpc
from routing import newer, way
from weir.v1 import access_pb2 as pb
from weir.v1.access_pb2_grpc import AccessServiceStub

TRY = 0.5  # seconds for the home, as it is told, and again for another node
WATCH = 30.0  # seconds with one node: the next one may know more, and this one may hang


class Weir:
    def __init__(self, seeds: list[str]) -> None:
        self.seeds, self.view, self.told = seeds, pb.View(), threading.Event()
        self.stub = functools.cache(lambda address: AccessServiceStub(grpc.insecure_channel(address)))  # one for a node
        threading.Thread(target=self.watch, daemon=True).start()
        self.told.wait(WATCH)  # without a view there is nobody to ask

    def watch(self) -> None:
        """Keeps the view: one node at a time says when it changed. Who watches counts as a client that lives."""
        for turn in itertools.count():
            addresses = [m.grpc for m in self.view.members if m.alive] + self.seeds
            self.news = self.stub(addresses[turn % len(addresses)]).WatchView(pb.WatchViewRequest(), timeout=WATCH)
            self.since = time.monotonic()
            try:
                for view in self.news:
                    if newer(view, self.view):
                        self.view = view
                        self.told.set()
            except grpc.RpcError:
                time.sleep(0.2)  # between two watches

    def check(self, domain: str, attributes: dict[str, str]) -> tuple[pb.Decision, str]:
        """The decision, and the node that was asked. Both tries have one key, so the second takes nothing twice."""
        pairs = [pb.Attribute(name=name, value=value) for name, value in attributes.items()]
        question = pb.CheckRequest(domain=domain, attributes=pairs, idempotency_key=str(uuid.uuid4()))
        for member in way(self.view, domain, attributes)[:2]:
            try:
                answer = self.stub(member.grpc).Check(question, timeout=TRY)
                if answer.epoch > self.view.epoch and time.monotonic() > self.since + 1:
                    self.news.cancel()  # it has had the time to tell this: let another node
                return answer, member.name
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise SystemExit(error.details())  # the same on every node
        return pb.Decision(verdict=pb.VERDICT_DENY, reason="FALLBACK_CLOSED", home="nobody"), "nobody"


if __name__ == "__main__":
    weir = Weir(sys.argv[1].split(","))
    for _ in itertools.chain([None], sys.stdin):
        d, asked = weir.check(sys.argv[2], dict(pair.split("=", 1) for pair in sys.argv[3:]))
        print(pb.Verdict.Name(d.verdict)[8:], d.reason, "asked", asked, "home", d.home, "view", weir.view.epoch)
