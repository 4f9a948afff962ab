"""A kernel of one's own from its packed tree to a submitted batch, in a real Chromium by forms."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from db.blobs import open_store
from db.repositories import simulators
from tests.builders import digest_of, transaction
from tests.fixtures.api import SIMULATOR
from tests.fixtures.browser import needs_chromium
from tests.fixtures.kernels import COMPILER, REFUSAL, Builder, built, mails, pack

pytestmark = needs_chromium

TITLES = (
    "KVM: x86/mmu: say what kvm_mmu_invlpg() does",
    "KVM: x86/mmu: tolerate more writes to a page table",
    "KVM: x86/mmu: drop a call from kvm_mmu_invlpg()",
)


@pytest.fixture
def api_settings(api_settings):
    return api_settings.model_copy(update={"builds": True})


@pytest.fixture
def builder(rows, api_settings):
    with transaction(rows.engine) as session:
        engines = {"shadow": SIMULATOR, "kernel": digest_of("engine")}
        simulators.register(
            session, name="w", simulators=engines, semantics_version=1, host="h", pid=1
        )
    return Builder(rows.engine, open_store(api_settings.blobs))


def finish(builder, kernel, *choices):
    for numbers in choices:
        builder.finish(kernel, numbers, built(f"{kernel} {numbers}", compiler=COMPILER))


def made(page, live, name="mine"):
    """A kernel of a tree and a series, by the form that the list of kernels leads to."""
    page.goto(f"{live}/kernels")
    page.get_by_role("link", name="Upload a kernel").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Mails or patches").set_input_files(
        {"name": "series.mbox", "mimeType": "application/mbox", "buffer": mails(*TITLES)}
    )
    page.get_by_label("A packed tree").set_input_files(
        {"name": "mine.tar.xz", "mimeType": "application/x-xz", "buffer": pack()}
    )
    page.get_by_role("button", name="Upload and build").click()
    page.wait_for_url(f"{live}/kernels/{name}")


@pytest.mark.parametrize("has_script", [True, False])
def test_from_a_packed_tree_to_a_batch_of_every_prefix(open_page, live, rows, builder, has_script):
    rows.add_trace("boot")
    seen = open_page(java_script_enabled=has_script)
    page = seen.page
    if has_script:
        page.goto(f"{live}/kernels/new")
        assert not Axe().run(page).response["violations"]
    made(page, live)
    for title in TITLES:
        assert page.get_by_role("rowheader", name=title).is_visible()

    page.get_by_role("link", name="Submit a batch here").click()
    assert "0 of 4 builds over" in page.locator("#own-kernel-title").inner_text()
    page.get_by_label("boot").check()
    page.get_by_role("button", name="Submit", exact=True).click()
    page.wait_for_url("**/batches/new?*kernel=mine*")
    assert "not submitted yet" in page.locator("#own-kernel").inner_text()
    finish(builder, "mine", (), (1,), (1, 2))
    builder.finish("mine", (1, 2, 3), refusal=REFUSAL)
    if not has_script:
        page.get_by_role("link", name="Look again").click()
    # With a script it comes by itself.
    page.get_by_role("button", name="Submit this batch").wait_for()
    assert "mine+1..3: arch/x86/kvm/mmu/mmu.c:6296" in page.locator("#own-kernel").inner_text()
    page.get_by_role("button", name="Submit this batch").click()

    page.wait_for_url(re.compile("/batches/b-[0-9a-z]+"))
    text = page.locator("main").inner_text()
    assert "mine+1..2" in text
    assert "mine+1..3" not in text
    assert seen.was_quiet()


def test_a_batch_is_cancelled_while_more_is_built_and_its_kernel_deleted_after(
    open_page, live, rows, builder
):
    rows.add_trace("boot")
    seen = open_page()
    page = seen.page
    made(page, live)
    finish(builder, "mine", (), (1,), (1, 2), (1, 2, 3))
    page.goto(f"{live}/batches/new?kernel=mine&plan=series")
    page.get_by_label("boot").check()
    page.get_by_role("button", name="Dry run").click()
    assert "4 cells" in page.locator("#estimate-title").inner_text()
    page.get_by_role("button", name="Submit this batch").click()
    page.wait_for_url(re.compile("/batches/b-[0-9a-z]+"))
    batch = page.url

    page.goto(f"{live}/kernels/mine")
    page.get_by_role("button", name="Delete this kernel").click()
    assert batch.rpartition("/")[2] in page.get_by_role("alert").inner_text()
    page.get_by_role("combobox", name="Builds").select_option("ablation")
    page.get_by_role("button", name="Have them built").click()
    page.get_by_text("4 of 6 builds over").wait_for()
    builder.start("mine", (1, 3))
    page.goto(batch)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled").first.wait_for()
    page.goto(f"{live}/kernels/mine")
    assert page.get_by_role("progressbar").is_visible()
    page.get_by_role("button", name="Stop the builds and delete").click()

    page.wait_for_url(f"{live}/kernels")
    assert "mine" not in page.locator("main table").all_inner_texts()
    # The refusal is the page that the browser complains of.
    assert [each for each in seen.complaints if "409" not in each] == []


def test_the_next_version_of_a_series_needs_no_tree_and_a_refusal_keeps_the_mails(
    open_page, live, builder
):
    seen = open_page()
    page = seen.page
    made(page, live)
    page.get_by_role("link", name="Make one on the same tree").click()
    page.get_by_label("Or pasted text").fill(mails(*TITLES[:2]).decode())
    page.get_by_label("Name").fill("mine")
    page.get_by_role("button", name="Upload and build").click()
    assert "mine" in page.get_by_role("alert").inner_text()
    assert "of mails are kept" in page.get_by_role("status").first.inner_text()

    page.get_by_label("Name").fill("mine-v2")
    page.get_by_role("button", name="Upload and build").click()

    page.wait_for_url(f"{live}/kernels/mine-v2")
    assert page.get_by_text("2 patches").first.is_visible()
