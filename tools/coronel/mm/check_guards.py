"""The guard pool against itself and against the Frames (E1 and E2 of mm/heap/guard_pool.cpp)."""

from __future__ import annotations

from coronel.mm.frames import FrameArray
from coronel.mm.guards import GuardPool, GuardSlot
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.slabs import SlabClaims


class GuardCheck:
    """Checks every slot; adds to `claims` what the Frames of the pool must say."""

    def __init__(self, tables: Tables, array: FrameArray, claims: SlabClaims, findings: Findings) -> None:
        states = tables.enum("ObjectState")
        self.free, self.allocated = states["free"], states["allocated"]
        self.tag = tables.enum("FrameTag")["guard_pool"]
        self.array = array
        self.claims = claims
        self.findings = findings

    def run(self, pool: GuardPool) -> None:
        """Reports every disagreement."""
        for page in range(pool.pages):
            self._claim(pool.first + page, 0)
        for slot in pool.slots:
            owner = slot.slab.address if slot.cache_number else 0
            self._claim(pool.frame(slot), owner)
            self._check(slot, pool.frame(slot))

    def _claim(self, number: int, owner: int) -> None:
        place = self.array.index(number)
        if place is not None:
            self.claims.of[place] = {"tag": self.tag, "owner": owner}
            self.claims.reserved.add(place)

    def _check(self, slot: GuardSlot, frame: int) -> None:
        if slot.state not in (self.free, self.allocated):
            address = slot.record.address_of("states")
            why = "no state of an object in the guard pool"
            self.findings.add(slot.name, "states[0]", self.free, slot.state, why, address)
            return
        free = slot.state == self.free
        wanted = {
            "objects": 1,
            "inverse": 1,
            "shift": 0,
            "unused": 0,
            "taken": int(not free),
            "head": self.array.frames_address + frame * self.array.frame_type.size,
        }
        for name, value in wanted.items():
            if slot.slab[name] != value:
                why = "not as everything else about this slot says"
                self.findings.add(slot.name, name, value, slot.slab[name], why, slot.slab.address_of(name))
        if slot.record["free_bits"] != int(free):
            address = slot.record.address_of("free_bits")
            why = "its state says otherwise"
            self.findings.add(slot.name, "free_bits", int(free), slot.record["free_bits"], why, address)
