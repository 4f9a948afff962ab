"""The tables, one file per noun.

::

    traces ──────────┐                 patches ◄── patch_set_patches ──► patch_sets
                     │                                                       │
    batches ◄── batch_traces                                                 ▼
       ▲  ▲                                                              variants
       │  └── batch_columns (what the comparison shows, in order) ───────────┘ ▲
       │                                                                       │
      runs (batch × trace × variant) ──► shards (what a worker takes)          │
       │                                                                       │
       │   Traces, patch sets, batches, runs and shards belong to projects; what is named by
       │   digest alone (variants, results) is everybody's, reached through a project's runs.
       │
       │   Documents beside results, and questions about runs, stand in ``db/models/documents.py``.
       │   What both found stands by kind in ``db/models/findings.py``.
       │   Comparisons of other services stand in ``db/models/bundles.py``.
       │   Notes on cells and patches stand in ``db/models/notes.py``.
       │   Kernels of users' own trees stand in ``db/models/kernels.py``.
       │   Who may see a project stands in ``db/models/accounts.py``.
       │
       └──► results (trace digest, variant digest, simulator digest) ◄── simulators ◄── workers

    webhooks ◄── webhook_deliveries        tallies, idempotency_keys
"""

from db.models.accounts import (
    AuditEntry,
    Device,
    Identity,
    LoginFlow,
    LoginSession,
    Membership,
    RateWindow,
    ShareLink,
    Token,
    User,
    Visit,
)
from db.models.base import Base
from db.models.batches import Batch, BatchColumn, BatchEvent, BatchTrace
from db.models.bundles import ImportedBundle
from db.models.documents import Document, Question
from db.models.findings import FiledFinding
from db.models.kernels import Kernel, KernelBuild, KernelPatch, Program, Tree
from db.models.notes import Note
from db.models.operations import Tally, Webhook, WebhookDelivery
from db.models.patch_sets import Patch, PatchSet, PatchSetPatch, Variant
from db.models.projects import FIRST_PROJECT, Made, Owned, Project
from db.models.requests import IdempotencyKey
from db.models.runs import Result, Run, Shard
from db.models.simulators import Simulator, Worker, WorkerStart
from db.models.thresholds import CounterLimit
from db.models.traces import Trace
from db.models.uploads import Placement, Upload

__all__ = [
    "FIRST_PROJECT",
    "AuditEntry",
    "Base",
    "Batch",
    "BatchColumn",
    "BatchEvent",
    "BatchTrace",
    "CounterLimit",
    "Device",
    "Document",
    "FiledFinding",
    "IdempotencyKey",
    "Identity",
    "ImportedBundle",
    "Kernel",
    "KernelBuild",
    "KernelPatch",
    "LoginFlow",
    "LoginSession",
    "Made",
    "Membership",
    "Note",
    "Owned",
    "Patch",
    "PatchSet",
    "PatchSetPatch",
    "Placement",
    "Program",
    "Project",
    "Question",
    "RateWindow",
    "Result",
    "Run",
    "Shard",
    "ShareLink",
    "Simulator",
    "Tally",
    "Token",
    "Trace",
    "Tree",
    "Upload",
    "User",
    "Variant",
    "Visit",
    "Webhook",
    "WebhookDelivery",
    "Worker",
    "WorkerStart",
]
