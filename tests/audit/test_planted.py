"""Public bugs that the model never had are planted in it: the audit must say so, and be alarmed."""

import json
import os
import subprocess
import sys

import pytest

from tests.audit.planted import CASES
from tests.audit.planted_logs import LOG_CASES


@pytest.fixture(scope="module")
def found():
    """What the audit says of every case; kernels are interpreted there, so a bug can be planted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit.planted"],
        env={**os.environ, "REFAULT_INTERPRETED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_planted_bug_is_named_by_the_check_of_its_kind(name, found):
    checks = {check for check, _, _ in found[name]["planted"]}
    assert set(CASES[name].checks) <= checks


#: The base has a bug with the same trace: a stale TLB entry of another vCPU (F-X4), and a direct
#: page that two entries with other rights share (F-X2). The count of places tells them apart.
ONLY_KNOWN = {"large-replaced-without-flush", "large-access-not-in-role"}


@pytest.mark.parametrize("name", sorted(set(CASES) - ONLY_KNOWN))
def test_a_planted_bug_is_no_known_exception_of_its_base(name, found):
    before = found[name].get("sound", [])
    new = [each for each in found[name]["planted"] if each not in before]
    assert any(exception is None for _, _, exception in new)
    assert all(exception is not None for _, _, exception in before)


@pytest.mark.parametrize("name", sorted(name for name in CASES if CASES[name].function))
def test_the_code_that_mends_a_planted_bug_is_a_repair(name, found):
    """Whatever it costs: held against the code with the bug, the code without it is no loss."""
    verdict, reason = found[name]["verdict"]
    assert verdict == "repair"
    assert CASES[name].checks[0] in reason


#: The latest step of the cause of the first finding.
CAUSES = {
    "write-ignores-inherited-access": "st vCPU 0 user 0x2000 = 0x65067: the leaf 0 of table 0x4 "
    "was 0x64000 r-x user, is 0x65000 rwx user",
    "sync-maps-writable": "the leaf 2 of table 0x4 was absent, is 0x5000 rwx user",
    "log-read-without-protection": "the leaf 0 of table 0x4 was absent, is 0x64000 rwx user",
    "sync-forgets-the-host": "cr3 vCPU 0 0x1000: the leaf 0 of table 0x4 was 0x64000 r-x user, is "
    "0x64000 rwx user",
    "log-begins-unprotected": "st vCPU 0 user 0x0 = 0x7: the leaf 0 of table 0x4 was absent, is "
    "0x64000 rwx user",
    "guess-not-logged": "st vCPU 0 user 0x2000 = 0x65067: the leaf 0 of table 0x4 was 0x64000 rwx "
    "user, is 0x65000 rwx user",
    "sync-not-logged": "cr3 vCPU 0 0x1000: the leaf 0 of table 0x4 was 0x64000 r-x user, is "
    "0x64000 rwx user",
    "walk-not-logged": "st vCPU 0 user 0x0 = 0x7: frame 0x4 is written, and its log does not note "
    "it",
    "same-cr3-without-sync": "st vCPU 0 user 0x1000 = 0x65067: table 0x4 went out of sync",
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_the_operation_that_did_it(name, found):
    assert CAUSES[name] in found[name]["causes"][0][-1]


@pytest.mark.parametrize("name", LOG_CASES)
def test_a_log_that_lacks_a_page_convicts_without_an_audit_too(name, found):
    """Each replay holds the logs it reads against what was written."""
    assert found[name]["told"]
    for message in found[name]["told"]:
        assert message.startswith("dirty log: ")
        assert message.endswith("not in it")
    verdict, reason = found[name]["against"]
    assert verdict == "broken-invariant"
    assert "lost-dirty-page at operation" in reason
