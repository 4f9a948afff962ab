# One file, three images. The API validates, plans and compares, so it needs no compiler; the worker holds the
# simulator; the builder is a worker that compiles kernels of users' own trees.
#   docker build --target api     --tag refault-api .
#   docker build --target worker  --tag refault-worker .
#   docker build --target builder --tag refault-builder .

FROM python:3.13-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    REFAULT_BLOBS=/var/lib/refault/blobs \
    REFAULT_SNAPSHOTS=/var/lib/refault/snapshots \
    REFAULT_CACHE=/var/cache/refault \
    REFAULT_KERNELS=/var/cache/refault/kernels
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin refault \
 && install --directory --owner refault --mode 0750 "$REFAULT_BLOBS" "$REFAULT_SNAPSHOTS" "$REFAULT_CACHE" /var/lib/refault/backups
WORKDIR /app

FROM base AS api
COPY requirements-api.lock ./
RUN python -m pip install --require-hashes --only-binary :all: -r requirements-api.lock
COPY refault refault
COPY db db
COPY services services
ENV REFAULT_HOST=0.0.0.0 REFAULT_PORT=8000
USER refault
EXPOSE 8000
CMD ["python", "-m", "services.api"]

FROM base AS worker
COPY requirements-worker.lock ./
RUN python -m pip install --require-hashes --only-binary :all: -r requirements-worker.lock
COPY refault refault
COPY db db
COPY worker worker
COPY services/__init__.py services/__init__.py
COPY services/shared services/shared
USER refault
CMD ["python", "-m", "worker"]

FROM worker AS builder
USER root
# git applies patches, gcc compiles; with --sanitize its libasan is linked.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev git \
 && rm -rf /var/lib/apt/lists/*
# What every kernel is held to before it is used.
COPY demo/traces refault/golden/captures
USER refault
