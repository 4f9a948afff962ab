import os
import subprocess
import sys
import time

import httpx

from tests.fixtures.api import SERIES, bearer


def test_a_start_without_settings_names_each_that_is_missing():
    environment = {name: value for name, value in os.environ.items() if "REFAULT" not in name}

    ended = subprocess.run(
        [sys.executable, "-m", "services.api"],
        env=environment | {"REFAULT_PORT": "70000"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    for name in ("DATABASE_URL", "BROKER_URL", "BLOBS", "PORT"):
        assert f"REFAULT_{name}: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_start_with_a_bucket_and_no_local_folder_names_the_folder():
    environment = {name: value for name, value in os.environ.items() if "REFAULT" not in name}
    given = {
        "REFAULT_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d",
        "REFAULT_BROKER_URL": "redis://127.0.0.1:1/0",
        "REFAULT_BLOBS": "s3://traces/here",
    }

    ended = subprocess.run(
        [sys.executable, "-m", "services.api"],
        env=environment | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 2
    assert "REFAULT_BLOBS_STAGING: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_stops_although_a_batch_is_being_watched(server, rows):
    rows.register_simulator()
    with httpx.Client(
        base_url=server.address, headers=bearer(server.token), trust_env=False
    ) as http:
        row = http.post("/api/v1/patch_sets", json=SERIES).json()
        body = {"traces": [rows.add_trace("boot")], "patch_sets": [row["id"]]}
        code = http.post("/api/v1/batches", json=body).json()["code"]
        with http.stream("GET", f"/api/v1/batches/{code}/events") as stream:
            assert "batch.planned" in next(stream.iter_text())
            server.stop()


def test_a_start_removes_what_a_killed_server_left_of_uploads(api_settings, request):
    incoming = api_settings.blobs / "incoming"
    incoming.mkdir(parents=True)
    for name, age_seconds in (("left-behind", 90_000), ("under-way", 0)):
        (incoming / name).write_bytes(b"part of a trace")
        os.utime(incoming / name, (time.time() - age_seconds,) * 2)

    request.getfixturevalue("server")

    assert [path.name for path in incoming.iterdir()] == ["under-way"]
