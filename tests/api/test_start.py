import os
import subprocess
import sys
import time

import httpx
import pytest
from pydantic import ValidationError

from services.api.settings import Settings
from tests.fixtures.api import SERIES, bearer
from tests.patience import PATIENCE_SECONDS

GOOD = {
    "REFAULT_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d",
    "REFAULT_BROKER_URL": "redis://127.0.0.1:1/0",
    "REFAULT_BLOBS": "/nowhere",
}


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
        timeout=PATIENCE_SECONDS,
    )

    assert ended.returncode == 2
    assert "REFAULT_BLOBS_STAGING: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"CLIENT_ID": "x"}, "OIDC_REDIRECT_URL"),
        ({"REDIRECT_URL": "https://x/login/oidc/callback"}, "OIDC_CLIENT_ID"),
        ({"CLIENT_ID": "x", "REDIRECT_URL": "http://x.example/"}, "OIDC_REDIRECT_URL"),
        ({"ISSUER": "http://issuer.example"}, "OIDC_ISSUER"),
        ({"ISSUER": "https://user@issuer.example"}, "OIDC_ISSUER"),
        ({"CLIENT_SECRET_FILE": "/nowhere/at/all"}, "OIDC_CLIENT_SECRET"),
        ({"CLIENT_SECRET_FILE": "/dev/null"}, "OIDC_CLIENT_SECRET"),
        ({"CLIENT_SECRET_FILE": "/dev/null", "CLIENT_SECRET": "both"}, "OIDC_CLIENT_SECRET"),
    ],
    ids=str,
)
def test_half_an_issuer_is_refused_by_the_name_of_the_setting(monkeypatch, given, name):
    for setting, value in GOOD.items():
        monkeypatch.setenv(setting, value)
    for setting, value in ({"ISSUER": "https://issuer.example"} | given).items():
        monkeypatch.setenv(f"REFAULT_OIDC_{setting}", value)
    with pytest.raises(ValidationError) as refusal:
        Settings()
    assert f"REFAULT_{name}" in [
        f"REFAULT_{error['loc'][0]}".upper() for error in refusal.value.errors()
    ]


def test_the_secret_of_the_issuer_may_stand_in_a_file_and_is_not_printed(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    for setting, value in GOOD.items():
        monkeypatch.setenv(setting, value)
    for setting, value in {
        "ISSUER": "https://issuer.example",
        "CLIENT_ID": "x",
        "REDIRECT_URL": "http://127.0.0.1:8000/login/oidc/callback",
        "CLIENT_SECRET_FILE": str(tmp_path / "secret"),
    }.items():
        monkeypatch.setenv(f"REFAULT_OIDC_{setting}", value)
    settings = Settings()
    assert settings.oidc_client_secret == "s3cret"
    assert "s3cret" not in repr(settings)


def test_a_server_stops_although_a_batch_is_being_watched(server, rows):
    rows.register_simulator()
    with httpx.Client(
        base_url=server.address,
        headers=bearer(server.token),
        trust_env=False,
        timeout=PATIENCE_SECONDS,
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
