"""The object caches against each other and against the Frames (K1-K4 of mm/heap/kmem_cache.cpp).

A slab is said four times: by the list that it is on, by its own record, by its objects' states and bits, and
by the Frames that name it as their owner. Its place and how many of its objects are out are what most of
these say; the others are reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from coronel.errors import DecodeError
from coronel.memory import PAGE_SIZE
from coronel.mm.check_guards import GuardCheck
from coronel.mm.frames import FrameArray
from coronel.mm.heap import heap_ranges
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.slabs import (
    LISTS,
    Cache,
    Heap,
    ObjectMagazine,
    Slab,
    SlabClaims,
    frame_of,
    read_heap,
    read_slab,
)
from coronel.mm.zones import Physical


def try_heap(tables: Tables, findings: Findings) -> Heap | None:
    """The floor of objects, or None and a finding where there is no way to it."""
    try:
        heap = read_heap(tables)
    except DecodeError as error:
        findings.add("HeapRecord", "all of it", "the caches", "none", str(error))
        return None
    for number, why in heap.unreadable.items():
        findings.add(
            f"cache {number}", "all of it", "a cache", "none", why, heap.record.address_of("caches", number)
        )
    return heap


MOST_COLOURS = 512  # a page of the smallest steps


class SlabCheck:
    """Checks every slab, and learns which Frames are theirs."""

    def __init__(self, tables: Tables, physical: Physical, array: FrameArray, findings: Findings) -> None:
        self.tables = tables
        self.physical = physical
        self.array = array
        self.findings = findings
        self.claims = SlabClaims()
        self.firsts: dict[int, int] = {}  # by the slab's address: where its first object truly lies
        states = tables.enum("ObjectState")
        self.free, self.cached = states["free"], states["cached"]
        waits = tables.option("quarantine_kib") != 0
        self.last_state = states["quarantined" if waits else "allocated"]
        self.owners = array.frame_column("owner")
        self.tags = array.frame_column("tag")
        self.mappings = array.frame_column("mappings")

    def run(self, heap: Heap) -> SlabClaims:
        """Reports what is wrong about slabs and lists; what the Frames of the sound ones must say."""
        for cache in heap.caches:
            self._add_unlisted(cache)
            taken = {slab.address: self._check_slab(cache, slab) for slab in list(cache.slabs.values())}
            self._check_lists(cache, taken)
            MagazineCheck(self, cache).run()
        for cache in heap.caches:
            self._report_unknown(cache)
        GuardCheck(self.tables, self.array, self.claims, self.findings).run(heap.guards)
        self._claim_ranges()
        self._claim_large()
        return self.claims

    def _report_unknown(self, cache: Cache) -> None:
        """Frames of the cache whose owner is no slab that could be read, and which no other slab claims."""
        places = np.flatnonzero((self.tags == cache.number) & (self.owners != 0))  # else it is the tag
        lost = [place for place in places.tolist() if place not in self.claims.of]
        for place in lost[: self.findings.room(len(lost))]:
            owner, number = int(self.owners[place]), self.array.number(place)
            why = f"frame {number} names it as its slab, and nothing else is right about it"
            self.findings.add(
                f"Slab {owner:#x} of cache {cache.name}", "all of it", "a slab", "none", why, owner
            )
            fields = ("tag", "index", "owner", "mappings", "references")
            values = {name: self.array.frame_value(place, name) for name in fields}
            self.claims.of[place] = values if values["references"] else dict(list(values.items())[:3])
            if values["references"]:
                self.claims.heads.add(place)

    def _claim_ranges(self) -> None:
        """Frames of the kernel heap's ranges, which say so one by one; `walk_heap` looks at the ranges."""
        tag = self.tables.enum("FrameTag")["heap_range"]
        for first, end in heap_ranges(self.tables):
            number = frame_of(self.physical.map, first)
            for n in range((end - first) // PAGE_SIZE):
                place = self.array.index(number + n)
                if place is None or place in self.claims.of:
                    break
                self.claims.of[place] = {"tag": tag}
                if n == 0:
                    self.claims.of[place]["references"] = 2
                    self.claims.heads.add(place)

    def _claim_large(self) -> None:
        """Blocks that are one object of kmalloc: they say so by their tag, and by a second reference."""
        large = self.tables.enum("FrameTag")["large_object"]
        heads = self.array.frame_column("state") == self.tables.enum("FrameState")["allocated"]
        two = heads & (self.array.frame_column("references") == 2)
        for place in np.flatnonzero((self.tags == large) | two).tolist():
            if place not in self.claims.of:
                self.claims.of[place] = {"tag": large, "references": 2}
                self.claims.heads.add(place)

    def _add_unlisted(self, cache: Cache) -> None:
        """Slabs that only Frames know: what a broken link has cut off."""
        mine = np.unique(self.owners[self.tags == cache.number])
        for address in map(int, mine[: 1 << 16]):
            if address in cache.slabs or address == 0:
                continue
            try:
                slab = read_slab(self.tables, address, cache.cut["objects"], cache.name)
            except DecodeError:
                continue
            if slab.record["number"] == cache.number and self._place(cache, slab) is not None:
                cache.slabs[address] = slab

    # -- one slab

    def _place(self, cache: Cache, slab: Slab) -> int | None:
        """The place of its first frame: two of the record's head, its first and the Frames agree."""
        said: list[int] = []
        direct = int(self.physical.map["direct_map"])
        head = int(slab.record["head"]) - self.array.frames_address
        if head % self.array.frame_type.size == 0:
            said.append(head // self.array.frame_type.size)
        first = int(slab.record["first"])
        if first >= direct:
            said.append(frame_of(self.physical.map, first) // cache.frames * cache.frames)
        said += {
            number // cache.frames * cache.frames
            for number in self.array.numbers(np.flatnonzero(self.owners == slab.address)).tolist()
        }
        votes = Counter(said).most_common(1)
        if not votes or votes[0][1] < 2:
            return None
        return self.array.index(votes[0][0])

    def _check_slab(self, cache: Cache, slab: Slab) -> int:
        """Reports every field that is wrong; how many of its objects are out."""
        record, cut = slab.record, cache.cut
        place = self._place(cache, slab)
        taken = self._taken(slab, None if place is None else int(self.mappings[place]))
        cache_address = self._cache_object(cache)
        wanted = {
            "inverse": cut["inverse"],
            "objects": cut["objects"],
            "shift": cut["shift"],
            "number": cache.number,
        }
        wanted |= {"taken": taken, "unused": 0}
        if cache_address is not None:
            wanted["cache"] = cache_address
        if place is not None:
            number = self.array.number(place)
            wanted["head"] = self.array.frames_address + number * self.array.frame_type.size
            self._check_first(cache, slab, number)
            self._claim(cache, slab, place, taken)
        for name, value in wanted.items():
            if record[name] != value:
                why = "not as everything else about this slab says"
                self.findings.add(slab.name, name, value, record[name], why, record.address_of(name))
        self._check_objects(slab, taken)
        return taken

    def _cache_object(self, cache: Cache) -> int | None:
        """Where the KmemCache lies, as most of its slabs say."""
        votes = Counter(int(slab.record["cache"]) for slab in cache.slabs.values()).most_common(2)
        if len(votes) > 1 and votes[0][1] == votes[1][1]:
            return cache.record.address  # the record is what the object begins with
        return votes[0][0] if votes else None

    def _check_first(self, cache: Cache, slab: Slab, number: int) -> None:
        """It is at one of the colours: at the one that makes cached objects of what magazines hold."""
        cut, said = cache.cut, int(slab.record["first"])
        base = int(self.physical.map["direct_map"]) + (number << 12) + int(cut["first"])
        colours = min(max(int(cut["colours"]), 1), MOST_COLOURS)  # whatever a broken record says
        places = [base + colour * int(cut["colour_step"]) for colour in range(colours)]
        held = {address for magazine in cache.magazines for address in magazine.objects}
        cached = [n * int(cut["stride"]) for n, state in enumerate(slab.states) if state == self.cached]

        def fitting(first: int) -> tuple[int, bool]:
            return sum(first + offset in held for offset in cached), first == said

        right = self.firsts[slab.address] = max(places, key=fitting)
        if right != said:
            why = "not where its objects are"
            address = slab.record.address_of("first")
            expected = f"{right:#x}" if cached or len(places) == 1 else f"{base:#x} or a colour behind it"
            self.findings.add(slab.name, "first", expected, said, why, address)

    def _taken(self, slab: Slab, mappings: int | None) -> int:
        """What most say: its record, its states, its bits, its first Frame."""
        said = [
            sum(state != self.free for state in slab.states),
            len(slab.states) - sum(slab.free),
            int(slab.record["taken"]),
        ]
        if mappings is not None:
            said.append(mappings)
        return Counter(said).most_common(1)[0][0]

    def _check_objects(self, slab: Slab, taken: int) -> None:
        base = slab.address + slab.record.type.size
        words = base + -(-len(slab.states) // 8) * 8
        for index, (state, is_free) in enumerate(zip(slab.states, slab.free, strict=True)):
            if state > self.last_state:
                why = "no state of an object"
                self.findings.add(
                    slab.name, f"states[{index}]", f"at most {self.last_state}", state, why, base + index
                )
            elif (state == self.free) != is_free:
                bits_right = len(slab.states) - sum(slab.free) == taken
                name, at = ("states", base + index) if bits_right else ("free_bits", words + index // 64 * 8)
                why = "its state and its bit contradict each other"
                self.findings.add(slab.name, f"{name}[{index}]", "", "", why, at)
        beyond = [
            word >> (len(slab.states) - 64 * n)
            for n, word in enumerate(slab.free_words)
            if len(slab.states) < 64 * (n + 1)
        ]
        if any(beyond):
            self.findings.add(
                slab.name, "free_bits", "no bit beyond its objects", "one", "belongs to no object", words
            )

    def _claim(self, cache: Cache, slab: Slab, place: int, taken: int) -> None:
        self.claims.heads.add(place)
        for n in range(cache.frames):
            self.claims.of[place + n] = {"tag": cache.number, "index": n, "owner": slab.address}
        self.claims.of[place] |= {"mappings": taken, "references": 2}

    # -- lists

    def _check_lists(self, cache: Cache, taken: dict[int, int]) -> None:
        """Every slab is on the list that fits, and the totals are right (K4)."""
        objects = int(cache.cut["objects"])
        fitting = {
            address: "full" if count == objects else "partial" if count else "empty"
            for address, count in taken.items()
        }
        for name in LISTS:
            followed = cache.followed[name]
            if followed.broken:
                self._report_link(
                    cache,
                    f"list {name} of cache {cache.name}",
                    followed.broken,
                    followed.broken_at,
                    followed.head,
                )
            members = followed.members
            wrong = [address for address in members if fitting.get(address, name) != name]
            for address in wrong:
                why = f"on list {name}, with {taken[address]} objects out of it"
                self.findings.add(cache.slabs[address].name, "node", fitting[address], name, why, address)
            size = sum(1 for list_name in fitting.values() if list_name == name)
            if followed.head["size"] != size and not followed.broken and not wrong:
                address = followed.head.address_of("size")
                why = "so many slabs belong on it"
                self.findings.add(
                    f"SlabLists of cache {cache.name}",
                    f"{name}.size",
                    size,
                    followed.head["size"],
                    why,
                    address,
                )
        total = sum(taken.values())
        if cache.lists["taken"] != total:
            address = cache.lists.address_of("taken")
            why = "the sum over its slabs"
            self.findings.add(
                f"SlabLists of cache {cache.name}", "taken", total, cache.lists["taken"], why, address
            )
        if cache.lists["colour"] >= cache.cut["colours"]:
            address = cache.lists.address_of("colour")
            why = "there are not so many"
            self.findings.add(
                f"SlabLists of cache {cache.name}", "colour", "a colour", cache.lists["colour"], why, address
            )

    def _report_link(self, cache: Cache, what: str, why: str, at: int, head: object) -> None:
        slab = cache.slabs.get(at)
        name = slab.name if slab else f"SlabLists of cache {cache.name}"
        following = [
            one.name
            for one in cache.slabs.values()
            if at in (one.record["node"]["previous"], one.record["node"]["next"])
        ]
        self.findings.add(
            tuple(dict.fromkeys((name, *following))), "node", "", "", f"{what} is cut: {why}", at
        )


class MagazineCheck:
    """K3: what magazines hold is `cached`, and the other way round."""

    def __init__(self, slabs: SlabCheck, cache: Cache) -> None:
        self.slabs = slabs
        self.cache = cache
        self.findings = slabs.findings

    def run(self) -> None:
        """Reports every disagreement."""
        cached = self._cached()
        holder: dict[int, ObjectMagazine] = {}
        room = self.slabs.tables.type("ObjectMagazine")["objects"].count
        for magazine in self.cache.magazines:
            count = int(magazine.record["count"])
            if count > room:
                address = magazine.record.address_of("count")
                self.findings.add(
                    magazine.name, "count", f"at most {room}", count, "more than it has room for", address
                )
                continue
            for at, found in enumerate(magazine.objects):
                self._check_entry(magazine, at, found, cached, holder)
        lost = [address for address in cached if address not in holder]
        if self.cache.taken_slots == 0 and lost:
            self._report_lost(lost)

    def _cached(self) -> dict[int, tuple[Slab, int]]:
        """Every object that its state calls cached, with the place of that state."""
        stride = int(self.cache.cut["stride"])
        found = {}
        for slab in self.cache.slabs.values():
            base = slab.address + slab.record.type.size
            for index, state in enumerate(slab.states):
                if state == self.slabs.cached:
                    found[self._first(slab) + index * stride] = (slab, base + index)
        return found

    def _check_entry(
        self,
        magazine: ObjectMagazine,
        at: int,
        found: int,
        cached: dict[int, tuple[Slab, int]],
        holder: dict[int, ObjectMagazine],
    ) -> None:
        address = magazine.record.address_of("objects", at)
        if found not in cached:
            names: Iterable[str] = dict.fromkeys((magazine.name, *self._slab_names(found)))
            self.findings.add(
                tuple(names),
                f"objects[{at}]",
                "a cached object",
                found,
                "no cached object of its cache",
                address,
            )
        elif found in holder:
            names = dict.fromkeys((holder[found].name, magazine.name))
            self.findings.add(
                tuple(names), f"objects[{at}]", "another object", found, "lies in one magazine only", address
            )
        else:
            holder[found] = magazine
            state = int(magazine.record["states"][at])
            if state != cached[found][1]:
                where = magazine.record.address_of("states", at)
                self.findings.add(
                    magazine.name, f"states[{at}]", cached[found][1], state, "not where its state is", where
                )

    def _first(self, slab: Slab) -> int:
        return self.slabs.firsts.get(slab.address, int(slab.record["first"]))

    def _slab_names(self, address: int) -> list[str]:
        length = int(self.cache.cut["stride"]) * int(self.cache.cut["objects"])
        return [s.name for s in self.cache.slabs.values() if 0 <= address - self._first(s) < length]

    def _report_lost(self, lost: list[int]) -> None:
        """Cached by their states, and in no magazine: a count too small, or a state that is wrong."""
        cached = self._cached()
        names = dict.fromkeys(
            one.name for one in self.cache.magazines if set(one.record["objects"]) & set(lost)
        )
        slabs = dict.fromkeys(cached[address][0].name for address in lost)
        why = "cached by their states, and in no magazine"
        self.findings.add(
            (*names, *slabs), "objects", "in a magazine", f"{len(lost)} in none", why, cached[lost[0]][1]
        )
