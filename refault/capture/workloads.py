"""The recipes of ``--workload``: what a guest does, what that needs, and how much memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from refault.capture.archive import Entry
from refault.capture.programs import compiler_parts, find_program, python_parts, with_libraries
from refault.errors import CaptureError

#: What the numbers of marks mean; 1 and 2 bound a recording with ``--start mark``.
MARKS: Final = {
    "1": "the workload begins",
    "2": "the workload ends",
    "3": "the workload failed",
    "16": "processes that end at once, every second one after exec",
    "17": "mappings that come and go",
    "18": "two processes that wait for each other",
    "19": "a ring of processes that live together",
    "20": "more memory than the guest has, written once",
    "21": "the same memory at random",
}
#: The guest of this command executes it where its workload fails; the console may lag behind.
FAILED_MARK: Final = 3
SWAP_MIB: Final = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """What the guest's shell runs, the files it needs besides busybox, and a swap disk's size."""

    text: str
    files: dict[str, Entry] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """One recipe. ``memory_mib`` is what the guest gets unless told."""

    name: str
    title: str
    make: Callable[[int], Script]
    memory_mib: int = 256
    needs_64_bit: bool = False
    swap_mib: int = 0


_C_SOURCE: Final = """\
extern void *malloc(unsigned long);
struct node { struct node *left, *right; int key; };
static struct node *insert(struct node *tree, int key)
{
    if (!tree) {
        tree = malloc(sizeof *tree);
        tree->left = tree->right = 0;
        tree->key = key;
        return tree;
    }
    if (key < tree->key)
        tree->left = insert(tree->left, key);
    else
        tree->right = insert(tree->right, key);
    return tree;
}
int NAME(int count)
{
    struct node *tree = 0;
    unsigned state = 1;
    int depth = 0;
    for (int i = 0; i < count; i++) {
        state = state * 1103515245 + 12345;
        tree = insert(tree, (int)(state >> 8));
    }
    for (; tree; tree = tree->left)
        depth++;
    return depth;
}
"""
_SQL: Final = """\
PRAGMA cache_size = 200;
CREATE TABLE page (gfn INTEGER PRIMARY KEY, gva INTEGER, owner TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000 * SCALE)
INSERT INTO page SELECT i, (i * 7919) % 65536, 'process ' || (i % 97) FROM n;
CREATE INDEX by_owner ON page (owner, gva);
UPDATE page SET gva = gva + 1 WHERE owner > 'process 5';
DELETE FROM page WHERE gfn % 3 = 0;
SELECT owner, count(*), sum(gva) FROM page GROUP BY owner ORDER BY 2 DESC LIMIT 3;
"""
_PYTHON: Final = """\
import collections, json, re
words = re.findall(r"[a-z]+", "the quick brown fox jumps over the lazy dog " * 200)
counts = collections.Counter(words)
text = json.dumps({str(i): [i, i * i, words[i % len(words)]] for i in range(1500)})
again = json.loads(text)
tree = {}
for i in range(4000):
    tree.setdefault(i % 101, []).append(str(i) * 3)
assert len(again) == 1500 and counts["the"] == 400
"""


def _boot(scale: int) -> Script:
    del scale
    return Script("true\n")


def _fork(scale: int) -> Script:
    lines = (f"work fork {100 * scale}", f"work map {300 * scale}", f"work talk {500 * scale}")
    return Script("\n".join(lines) + "\n")


def _exec(scale: int) -> Script:
    return Script(
        f"""\
cd /tmp
round=0
while [ $round -lt {4 * scale} ]; do
    i=0
    while [ $i -lt 40 ]; do
        echo "int f$i(int x) {{ return x * $i; }}"
        i=$((i + 1))
    done > $round.c
    sed -e 's/int/long/g' $round.c | sort -r | awk '{{ n += length($0); print NR, $0 }}' > $round.i
    gzip -c $round.i > $round.o
    md5sum $round.o >> sums
    round=$((round + 1))
done
cat *.o > all
"""
    )


def _gcc(scale: int) -> Script:
    driver, files = compiler_parts()
    text = f"""\
cd /tmp
round=0
while [ $round -lt {scale} ]; do
    for i in 1 2 3; do
        sed "s/NAME/f$i/" /source.c > $i.c
        {driver} -O1 -ffreestanding -c $i.c -o $i.o &
    done
    wait
    ls 1.o 2.o 3.o && ld -r -o all.o 1.o 2.o 3.o || exit 1
    round=$((round + 1))
done
"""
    return Script(text, files | {"/source.c": Entry(_C_SOURCE.encode())})


def _sqlite(scale: int) -> Script:
    program = find_program("sqlite3", "sqlite3")
    sql = _SQL.replace("SCALE", str(scale)).encode()
    return Script(
        f"{program} -batch /tmp/pages.db < /script.sql\n",
        with_libraries(program) | {"/script.sql": Entry(sql)},
    )


def _python(scale: int) -> Script:
    script = _PYTHON * scale
    program, home, files = python_parts(_PYTHON)
    return Script(
        f"PYTHONHOME={home} {program} -S /script.py\n",
        files | {"/script.py": Entry(script.encode())},
    )


def _pressure(scale: int) -> Script:
    return Script(
        "mkswap /dev/nvme0n1 > /dev/null && swapon /dev/nvme0n1 || "
        "{ echo 'this kernel has no NVMe driver built in, so the guest has no swap'; exit 1; }\n"
        f"work pressure {min(96 + 32 * scale, SWAP_MIB)}\n"
    )


def _many(scale: int) -> Script:
    return Script(f"work many {min(120 * scale, 256)}\n")


WORKLOADS: Final = {
    each.name: each
    for each in (
        Workload("boot", "power on until the first program runs", _boot),
        Workload("fork", "fork, exec, mappings, two processes in turns", _fork),
        Workload("exec", "shell pipelines of many small programs", _exec),
        Workload("gcc", "three parallel runs of this machine's GCC", _gcc, 512, needs_64_bit=True),
        Workload("sqlite", "a table filled, indexed, changed", _sqlite, 256, needs_64_bit=True),
        Workload("python", "this machine's Python", _python, 384, needs_64_bit=True),
        Workload("pressure", "more memory than there is, with swap", _pressure, 128,
                 needs_64_bit=True, swap_mib=SWAP_MIB),
        Workload("many", "120 processes at once", _many, 512),
    )
}  # fmt: skip


def workload_named(name: str) -> Workload:
    """The recipe of that name.

    Raises:
        CaptureError: there is none.
    """
    if name not in WORKLOADS:
        raise CaptureError(f"--workload {name!r} is not known; there are {', '.join(WORKLOADS)}")
    return WORKLOADS[name]
