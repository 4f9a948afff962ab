"""The pages of kernels in a real Chromium: live while they are built, and on a narrow screen."""

import re

import pytest

from db.blobs import open_store
from refault.client import Client
from tests.fixtures.browser import CONTRAST, PICTURES, needs_chromium
from tests.fixtures.kernels import COMPILER, REFUSAL, Builder, built, mails, pack

pytestmark = needs_chromium


@pytest.fixture
def api_settings(api_settings):
    return api_settings.model_copy(update={"builds": True})


@pytest.fixture
def builder(rows, api_settings):
    return Builder(rows.engine, open_store(api_settings.blobs))


@pytest.fixture
def kernel(live, token, tmp_path):
    path = tmp_path / "mine.tar.xz"
    path.write_bytes(pack())
    series = mails(
        "KVM: x86/mmu: say what kvm_mmu_invlpg() does",
        "KVM: x86/mmu: tolerate more writes to a page table",
        "KVM: x86/mmu: drop a call from kvm_mmu_invlpg()",
    )
    with Client(live, token=token) as client:
        client.push_kernel(path, name="mine", mails=series)
    return f"{live}/kernels/mine"


def finish(builder, *, is_last_refused=True):
    for numbers in ((), (1,), (1, 2)):
        builder.finish("mine", numbers, built(f"mine {len(numbers)}", compiler=COMPILER))
    if is_last_refused:
        builder.finish("mine", (1, 2, 3), refusal=REFUSAL)


def test_a_build_that_ends_shows_without_a_reload(open_page, kernel, builder):
    builder.start("mine")
    seen = open_page()
    seen.page.goto(kernel, wait_until="networkidle")
    seen.page.evaluate("window.wasReloaded = false")
    log = seen.page.locator("details").first
    log.locator("summary").click()
    assert seen.page.get_by_text("0 of 4 builds over").is_visible()

    finish(builder)

    seen.page.locator(".trouble").wait_for()
    assert seen.page.evaluate("window.wasReloaded") is False
    assert log.get_attribute("open") is not None
    log.get_by_role("button", name="Copy").click()
    log.get_by_text(re.compile("^(Copied|Selected)")).wait_for()
    assert seen.page.locator("progress").count() == 0
    assert seen.was_quiet()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_the_screen_and_can_be_read(open_page, kernel, builder, width, scheme):
    finish(builder)
    seen = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, address in (("kernel", kernel), ("kernels", kernel.removesuffix("/mine"))):
        seen.page.goto(address, wait_until="networkidle")
        if name == "kernel":
            seen.page.locator("details summary").first.click()
        seen.page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)

        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.page.evaluate(CONTRAST) == []
    assert seen.was_quiet()


def test_the_empty_list_teaches(open_page, live):
    seen = open_page(viewport={"width": 390, "height": 900})
    seen.page.goto(f"{live}/kernels", wait_until="networkidle")
    PICTURES.mkdir(parents=True, exist_ok=True)
    seen.page.screenshot(path=PICTURES / "kernels-empty-390.png", full_page=True)

    assert "refault submit TRACE --kernel" in seen.page.locator(".empty").inner_text()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.was_quiet()
