"""What our stores keep in Redis beside Feast's fields: guards against older rows, and a mark of each project.

The guard of rows lies in the row's hash, as digits whose order as text is the order of (event time, created
time, sequence). The script compares and writes at once, so writers need not agree on anything.
"""

import hashlib

_ORIGIN_US = 1 << 62

WRITE_SCRIPT = b"""
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and held > ARGV[2] and ARGV[3] ~= 'force' then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
for first = 4, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 1999, #ARGV)))
end
return 1
"""
ADVANCE_SCRIPT = b"""
local held = redis.call('HMGET', KEYS[1], 'epoch', 'log_revision')
if held[1] ~= ARGV[1] then return 0 end
if tonumber(held[2]) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'log_revision', ARGV[2]) end
return 1
"""


def script_name(script: bytes) -> bytes:
    """Returns the name under which Redis keeps a script."""
    return hashlib.sha1(script, usedforsecurity=False).hexdigest().encode()


def guard_field(rows: str) -> bytes:
    """Returns the field that guards the rows of a view, or those of some views that are written together."""
    return f"_guard:{rows}".encode()


def guard(event_time_us: int, created_time_us: int | None, sequence: int = 0) -> bytes:
    """Returns a row's guard; a row without created time is older than one with, of the same event time."""
    created = 0 if created_time_us is None else created_time_us + _ORIGIN_US
    return b"%020d%020d%020d" % (event_time_us + _ORIGIN_US, created, sequence)


def mark_key(project: str) -> bytes:
    """Returns the key whose `epoch` says that the rows of a project are there; it goes when they go."""
    return f"mltrainer:online:{project}".encode()
