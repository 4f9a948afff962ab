"""A replay put aside and taken up again comes to the same bytes; anything else is refused."""

import functools
import hashlib
import os
import random
import subprocess
import sys

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refault.catalogue import Parameters, PatchSet, resolve
from refault.engines.shadow import host as shadow
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.errors import ReplayCancelled, ReplayRefused, SnapshotRefused
from refault.replay import snapshot, x86
from refault.replay.outcomes import BLOCK_BYTES, DigestState, OutcomeDigest
from refault.replay.session import replay
from refault.trace import TraceWriter
from tests.engines.putting_aside import CHOSEN
from tests.engines.traffic import random_guest

GUESTS = 30
SEED = 9  # three vCPUs, and a long time
BLOCK_EVENTS = 19


def write_trace(path, seed=SEED, *, block_events=BLOCK_EVENTS):
    guest = random_guest(seed)
    with TraceWriter(path, guest.header(), level=1, block_events=block_events) as writer:
        writer.append_block(guest.block())
    return path


@pytest.fixture
def trace(tmp_path):
    return write_trace(tmp_path / "guest.rft")


def put_aside(trace, path, number, variants=CHOSEN, **options):
    """Replays until snapshot ``number`` is written, and then stops; how many events were done."""
    offered = []

    def keep(offer):
        if len(offered) == number:
            with path.open("wb") as file:
                seal = offer.write(file)
            assert seal == snapshot.seal_of(path)
            assert seal == hashlib.sha256(path.read_bytes()[:-32]).hexdigest()
        offered.append(offer.events)

    with pytest.raises(ReplayCancelled):
        replay(
            trace,
            variants,
            on_snapshot=keep,
            is_cancelled=lambda: len(offered) > number,
            **options,
        )
    return offered[number]


def lines(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.putting_aside", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@functools.cache
def undisturbed():
    return lines(0, GUESTS, "whole")


@pytest.mark.timeout(900)  # a reading is compiled first if its source is new
@pytest.mark.parametrize(
    "reading", [{}, {"REFAULT_INTERPRETED": "1"}, {"REFAULT_BOUNDSCHECK": "1"}]
)
def test_every_word_of_a_resumed_host_is_that_of_an_undisturbed_one(reading):
    assert lines(0, GUESTS, **reading) == undisturbed()
    rows = [line.split()[1:] for line in undisturbed()]
    assert all(len(set(row)) > 1 for row in rows)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("number", [0, 9, 14])
def test_a_result_is_the_same_bytes_after_a_pause(tmp_path, trace, number, threads):
    whole = [result.to_bytes() for result in replay(trace, CHOSEN)]
    path = tmp_path / "aside"
    put_aside(trace, path, number, threads=threads)
    for others in (1, 2):
        resumed = replay(trace, CHOSEN, resume_from=path, threads=others)
        assert [result.to_bytes() for result in resumed] == whole


def test_what_was_done_is_not_done_again(tmp_path, trace, monkeypatch):
    path = tmp_path / "aside"
    put_aside(trace, path, 12, CHOSEN[:1])
    executed = []
    execute = shadow.Host.execute

    def counted(host, ops, count):
        executed.append(count)
        execute(host, ops, count)

    monkeypatch.setattr(shadow.Host, "execute", counted)
    whole = replay(trace, CHOSEN[:1])
    whole_count, executed[:] = len(executed), []
    assert replay(trace, CHOSEN[:1], resume_from=path) == whole
    assert len(executed) == whole_count - 13


def test_a_resumed_replay_can_be_put_aside_again(tmp_path, trace):
    whole = replay(trace, CHOSEN)
    path = tmp_path / "aside"
    done = put_aside(trace, path, 1)
    further = put_aside(trace, tmp_path / "again", 2, resume_from=path)
    assert further > done
    assert replay(trace, CHOSEN, resume_from=tmp_path / "again") == whole


def test_snapshots_are_offered_as_seldom_as_asked(trace):
    offered = []
    replay(trace, CHOSEN[:1], snapshot_every=50, on_snapshot=lambda s: offered.append(s.events))
    assert len(offered) > 1
    assert all(b - a >= 50 for a, b in zip([0, *offered], offered, strict=False))


def test_a_capture_of_a_real_guest_resumes_in_the_midst_of_its_tables(tmp_path, capture):
    variants = [resolve(PatchSet(parameters=Parameters(page_limit=90)))]
    whole = replay(capture, variants)
    path = tmp_path / "aside"
    assert put_aside(capture, path, 5, variants) > 0
    assert replay(capture, variants, resume_from=path) == whole


def test_an_event_log_is_not_put_aside(trace):
    with pytest.raises(ReplayRefused, match="in one run"):
        replay(trace, CHOSEN, events=lambda _: None, on_snapshot=lambda _: None)


# --- What is refused -------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A trace and a snapshot of it in the midst of its accesses, as bytes."""
    folder = tmp_path_factory.mktemp("kept")
    path = write_trace(folder / "guest.rft")
    put_aside(path, folder / "aside", 14)
    return path, (folder / "aside").read_bytes()


def refused(kept, path, data, variants=CHOSEN):
    """Why; nothing but a refusal may come of it."""
    path.write_bytes(data)
    with pytest.raises(SnapshotRefused) as caught:
        replay(kept[0], variants, resume_from=path)
    return str(caught.value)


anything = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@anything
@given(place=st.integers(0, 1 << 30), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_wherever_it_is(kept, tmp_path, place, bit):
    data = bytearray(kept[1])
    data[place % len(data)] ^= 1 << bit
    why = refused(kept, tmp_path / "s", bytes(data))
    assert "damaged" in why or "not a snapshot" in why


@anything
@given(place=st.integers(0, 1 << 30))
def test_a_file_that_ends_early_is_refused(kept, tmp_path, place):
    assert refused(kept, tmp_path / "s", kept[1][: place % len(kept[1])])


def test_bytes_behind_the_end_are_refused(kept, tmp_path):
    assert "damaged" in refused(kept, tmp_path / "s", kept[1] + b"x")


def test_a_missing_file_is_refused(kept, tmp_path):
    with pytest.raises(SnapshotRefused, match="No such file"):
        replay(kept[0], CHOSEN, resume_from=tmp_path / "nothing")


def test_other_variants_or_another_order_are_refused(kept, tmp_path):
    for variants in (CHOSEN[:-1], CHOSEN[::-1], [*CHOSEN, CHOSEN[0]]):
        assert "other variants" in refused(kept, tmp_path / "s", kept[1], variants)


def test_another_trace_is_refused_though_it_has_the_same_header(kept, tmp_path):
    header = random_guest(SEED).header()
    others = [seed for seed in range(200) if seed != SEED and random_guest(seed).header() == header]
    other = write_trace(tmp_path / "other.rft", others[0])
    assert "another trace" in refused((other,), tmp_path / "s", kept[1])
    cut = write_trace(tmp_path / "cut.rft", block_events=1 << 10)
    assert "another trace" in refused((cut,), tmp_path / "s", kept[1])


def test_a_trace_that_ends_before_it_is_refused(kept, tmp_path):
    short = tmp_path / "short.rft"
    with TraceWriter(
        short, random_guest(SEED).header(), level=1, block_events=BLOCK_EVENTS
    ) as writer:
        writer.append_block(random_guest(SEED).block().part(0, BLOCK_EVENTS))
    assert "after the end" in refused((short,), tmp_path / "s", kept[1])


class Opened:
    """A snapshot in parts, to be changed and sealed anew as a forger would."""

    def __init__(self, data):
        body = zstandard.ZstdDecompressor().decompressobj().decompress(data[8:-32])
        size = int.from_bytes(body[:4], "little")
        self.head = msgpack.unpackb(body[4 : 4 + size])
        self.rest = bytearray(body[4 + size :])
        self.seal = True

    def sizes(self):
        return [*self.head["lowering"], *(n for host in self.head["hosts"] for n in host["sizes"])]

    def words(self, number):
        """Array ``number`` of the file; changes reach the file."""
        before = 8 * sum(self.sizes()[:number])
        count = self.sizes()[number]
        return np.frombuffer(self.rest, "<i8", count, before)

    def machine(self, host=0):
        first = 6 + 7 * host
        return Machine(*(self.words(first + i) for i in range(7)))

    def to_bytes(self):
        head = msgpack.packb(self.head)
        body = len(head).to_bytes(4, "little") + head + bytes(self.rest)
        data = snapshot.MAGIC + zstandard.ZstdCompressor(level=1).compress(body)
        return data + hashlib.sha256(data).digest()


def forged(kept, change):
    opened = Opened(kept[1])
    change(opened)
    return opened.to_bytes()


def test_a_forger_who_changes_nothing_is_believed(kept, tmp_path):
    path = tmp_path / "s"
    path.write_bytes(forged(kept, lambda _: None))
    assert replay(kept[0], CHOSEN, resume_from=path) == replay(kept[0], CHOSEN)


WILD = (-1, -(1 << 40), 1 << 40, (1 << 63) - 1)
PLACES = {
    "first page in use": ("vm", words.LIST_HEAD),
    "hash bucket": ("vm", words.HASH + 7),
    "free page": ("vm", words.PAGE_FREE),
    "free link": ("vm", words.LINK_FREE),
    "free pages": ("vm", words.PAGE_FREE_COUNT),
    "free links": ("vm", words.LINK_FREE_COUNT),
    "end of memory": ("vm", words.MEM_NEXT),
    "vCPUs": ("vm", words.VCPU_COUNT),
    "event log": ("vm", words.EVENT_END),
    "slot": ("vm", words.SLOTS + words.SLOT_FRAMES),
    "slot's pages": ("vm", words.SLOTS + words.SLOT_PAGES),
    "PAE root": ("vm", words.CPUS + words.PAE_ROOTS),
    "entry updated last": ("vm", words.CPUS + words.LAST_PTE_UPDATED),
    "knob": ("vm", words.KNOB_ZAP_RETURN),
    "neighbour in the list": ("page", words.PAGE_WORDS + words.LIST_NEXT),
    "neighbour in the hash": ("page", words.PAGE_WORDS + words.HASH_NEXT),
    "unsync neighbour": ("page", words.PAGE_WORDS + words.OOS_NEXT),
    "free link's next": ("link", 5 * words.LINK_WORDS + words.LINK_NEXT),
    "reference": ("link", 5 * words.LINK_WORDS),
    "reverse map": ("frame", words.FRAME_WORDS + 2 * words.FRAME_WORDS + words.RMAP),
    "frame's content": ("frame", words.FRAME_WORDS + 2 * words.FRAME_WORDS + words.MEMORY),
}


@pytest.mark.parametrize("value", WILD)
@pytest.mark.parametrize("name", PLACES)
def test_a_forged_word_that_leads_outside_is_refused(kept, tmp_path, name, value):
    array, place = PLACES[name]
    if value == -1 and name in ("free link's next", "reverse map"):
        value = -(1 << 30)  # a reverse map may be a small negative number

    def change(opened):
        getattr(opened.machine(host=1), array)[place] = value

    assert "cannot be used" in refused(kept, tmp_path / "s", forged(kept, change))


def test_a_forged_link_to_a_page_that_is_none_is_refused(kept, tmp_path):
    def change(opened):
        m = opened.machine()
        headers = m.page.reshape(-1, words.PAGE_WORDS)
        level = (headers[:, words.ROLE] & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT
        used = np.flatnonzero((level > 1) & (headers[:, words.FREED] == 0))
        m.spt[used[-1] * words.SPT_WORDS] = 0x7FFF_FFFF_F000 | x86.PRESENT

    assert "child lies outside" in refused(kept, tmp_path / "s", forged(kept, change))


def set_head(**values):
    return lambda opened: opened.head.update(values)


def set_host(**values):
    return lambda opened: opened.head["hosts"][0].update(values)


def set_notes(**values):
    return lambda opened: opened.head["hosts"][0]["notes"].update(values)


def set_state(**values):
    return lambda opened: opened.head["hosts"][0]["state"].update(values)


def set_size(host, place, count):
    def change(opened):
        opened.head["hosts"][host]["sizes"][place] = count

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (set_host(engine="0" * 64), "another version of the engine"),
        (set_head(events=-1), "a count is invalid"),
        (set_head(events=1 << 40), "after the end|another trace"),
        (set_head(events="7"), "events is str"),
        (set_head(more=1), "lacks fields"),
        (set_head(lowering=[1, 2]), "2 numbers instead of 6"),
        (set_head(lowering=[1 << 40] * 6), "not the trace's"),
        (set_head(hosts=[]), "other variants"),
        (set_size(0, 0, 10), "arrays of"),
        (set_size(0, 1, 1 << 50), "arrays of"),
        (set_size(0, 5, 1 << 40), "arrays of"),
        (set_size(4, 6, 1), "ends early|TLBs|follow its end"),
        (set_state(limit_is_due=3), "limit_is_due is int"),
        (set_host(operation_count=True), "a count is invalid|is bool"),
        (set_notes(tally=[1]), "1 numbers instead of"),
        (set_notes(outcomes=[b"", b"", 5]), "no outcomes lead to"),
        (set_notes(outcomes=[b"x" * 31, b"a" * 32, BLOCK_BYTES + 32]), "no outcomes lead to"),
        (set_notes(outcomes=[1, 2, 3]), "digest of outcomes is invalid"),
        (set_notes(findings=[{"kind": 1}], finding_count=1), "finding"),
        (set_notes(findings=[{}] * 99, finding_count=99), "keeps 99 findings"),
        (set_notes(stopped={"a": 1}), "finding"),
    ],
)
def test_a_forged_head_is_refused_with_what_is_wrong(kept, tmp_path, change, why):
    path = tmp_path / "s"
    path.write_bytes(forged(kept, change))
    with pytest.raises(SnapshotRefused, match=why):
        replay(kept[0], CHOSEN, resume_from=path)


def test_a_head_as_large_as_the_world_takes_no_memory(kept, tmp_path):
    data = snapshot.MAGIC + zstandard.ZstdCompressor().compress(b"\xff\xff\xff\xff")
    data += hashlib.sha256(data).digest()
    assert "its head has 4294967295 bytes" in refused(kept, tmp_path / "s", data)


# --- The digest of outcomes --------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.integers(0, BLOCK_BYTES // 32), max_size=12), st.randoms(use_true_random=False))
def test_the_digest_depends_on_the_stream_and_not_on_its_pieces(pieces, rng):
    digest = OutcomeDigest()
    for rows in pieces:
        digest.update(bytes([rows % 251]) * 32 * rows)
        digest = OutcomeDigest.from_state(
            DigestState(*msgpack.unpackb(msgpack.packb(digest.state)))
        )
    stream = b"".join(bytes([rows % 251]) * 32 * rows for rows in pieces)
    other, at = OutcomeDigest(), 0
    while at < len(stream):
        size = rng.randrange(1, 2 * BLOCK_BYTES)
        other.update(stream[at : at + size])
        at += size
    assert digest.hexdigest() == other.hexdigest()


def test_up_to_a_block_the_digest_is_plain_sha256_and_beyond_it_is_a_chain():
    one, two = OutcomeDigest(), OutcomeDigest()
    block = random.Random(1).randbytes(BLOCK_BYTES)
    one.update(block)
    assert one.hexdigest() == hashlib.sha256(block).hexdigest()
    two.update(block + b"r" * 32)
    link = hashlib.sha256(block).digest()
    length = (BLOCK_BYTES + 32).to_bytes(8, "little")
    assert two.hexdigest() == hashlib.sha256(link + b"r" * 32 + length).hexdigest()
