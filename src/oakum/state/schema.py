"""The tables of a state, for both databases, and the number of their layout."""

from __future__ import annotations

VERSION = "1"

PENDING, ACCEPTED, HELD, BACK = 0, 1, 2, 3
STATUS = {PENDING: "pending", ACCEPTED: "accepted", HELD: "held", BACK: "taken back"}

# {seq} is what counts rows upwards in this database. Times are microseconds since 1970.
TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS events (
        seq {seq},
        event_id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL,
        item_id TEXT NOT NULL,
        time BIGINT NOT NULL,
        type TEXT,
        weight DOUBLE PRECISION,
        status SMALLINT NOT NULL DEFAULT 0,
        batch TEXT)""",
    "CREATE INDEX IF NOT EXISTS events_user ON events (user_id, seq)",
    "CREATE INDEX IF NOT EXISTS events_waiting ON events (status, seq) WHERE status IN (0, 2)",
    "CREATE INDEX IF NOT EXISTS events_batch ON events (batch) WHERE batch IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS items (item_id TEXT PRIMARY KEY, attributes TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS batches (
        id TEXT PRIMARY KEY, made TEXT NOT NULL, events BIGINT NOT NULL, accounts BIGINT NOT NULL,
        held_events BIGINT NOT NULL, held_accounts BIGINT NOT NULL, bar DOUBLE PRECISION NOT NULL, status TEXT NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS forgotten (person TEXT PRIMARY KEY, made TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, hash TEXT NOT NULL, made TEXT NOT NULL, revoked TEXT)""",
    # Which people a running experiment has answered: salted digests, an arm, a time, and nothing more.
    """CREATE TABLE IF NOT EXISTS experiments (
        name TEXT PRIMARY KEY, settings TEXT NOT NULL, made TEXT NOT NULL, since BIGINT NOT NULL, ended TEXT, why TEXT)""",
    """CREATE TABLE IF NOT EXISTS answered (
        experiment TEXT NOT NULL, person TEXT NOT NULL, candidate SMALLINT NOT NULL, first BIGINT NOT NULL,
        PRIMARY KEY (experiment, person))""",
    "CREATE INDEX IF NOT EXISTS answered_person ON answered (person)",
    # Statements of deletion; the people in them are SHA-256 digests.
    "CREATE TABLE IF NOT EXISTS statements (id TEXT PRIMARY KEY, made TEXT NOT NULL, value TEXT NOT NULL)",
)
