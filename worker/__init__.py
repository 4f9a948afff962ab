"""The worker: takes shards, replays them, records what came out.

``celery -A worker.app worker`` runs one; ``python -m worker`` does the same with the
queues named.
"""
