"""Patch 1: a struct that nothing uses."""

from __future__ import annotations

from refault.thread.mails import xiao
from refault.thread.rules import same_machine
from refault.thread.topics import Form, Topic

TOPIC = Topic(
    number=1,
    title="remove struct kvm_unsync_walk",
    mail=xiao("12:59 am"),
    base="base",
    posted=Form("p1", "as posted", "Xiao Guangrong", "unsync-walk-struct"),
    claim=same_machine,
    counters=(),
    today="The struct is gone; mmu_unsync_walk() fills a vector of pages, as it did in April 2010.",
    settled="1b8c7934a40 (2.6.35-rc1)",
)
