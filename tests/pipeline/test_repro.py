"""``refault repro`` against results of real workers: the number in the table is made again here."""

import json

import sqlalchemy as sa

from db.models import Result, Run
from db.session import transaction
from refault.mmu.jit import cache_folder
from tests.cli.running import run
from tests.pipeline.watched import Watched


def test_a_workers_result_is_the_same_here_and_a_changed_one_is_told(
    stack, client, capture, tmp_path
):
    watched = Watched(stack, client, capture)
    assert watched.submit().wait_until_over()["state"] == "done"
    cell = f"{watched.code}/linux61-boot-1cpu/2"
    here = {
        "REFAULT_URL": stack.url,
        "REFAULT_TOKEN": stack.token,
        "REFAULT_CACHE": str(cache_folder()),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    same = run(tmp_path, "repro", cell, **here)
    assert same.returncode == 0, same.stderr
    run_row = watched.rows(Run)[1]
    with transaction(stack.engine) as session:
        result = session.get_one(Result, run_row.result_id)
    assert same.stdout == f"same: {result.body_digest}\n"
    [kept] = (tmp_path / "cache" / "refault" / "traces").iterdir()
    assert kept.read_bytes() == capture.read_bytes()

    # Somebody changes a counter in the database, and what is told of it must be that one.
    counters = {**result.body["counters"], "mmu_recycled": 1}
    changed = {**result.body, "counters": counters}
    with transaction(stack.engine) as session:
        session.execute(sa.update(Result).where(Result.id == result.id).values(body=changed))
    told = run(tmp_path, "repro", str(run_row.id), "--json", **here)
    assert told.returncode == 1, told.stderr
    document = json.loads(told.stdout)
    assert not document["same"]
    [difference] = document["differences"]
    assert difference == {
        "place": "counters.mmu_recycled",
        "theirs": 1,
        "here": result.body["counters"]["mmu_recycled"],
    }
