"""The worker: claims shards, replays them, records the results.

``celery -A worker.app worker`` runs one; ``python -m worker`` does the same with the
queues named.
"""
