"""What a Redis refuses for now, and what for good, by its own words."""

from __future__ import annotations

import pytest
import redis

from pydbsync.sinks.redis.client import is_denied, is_for_now


@pytest.mark.parametrize(
    ("text", "is_later"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:9.", True),
        ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", True),
        ("NOREPLICAS Not enough good replicas to write.", True),
        # before 7.0 a script tells it in a text of its own
        ("Error running script (call to f_1f): @user_script:9: @user_script: 9: -OOM command not allowed", True),
        ("ERR Error running script (call to f_1f): @user_script:9: @user_script: 9: -READONLY You can't write", True),
        ("Error running script (call to f_1f): @user_script:9: WRONGTYPE Operation against a key", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("string exceeds maximum allowed size (proto-max-bulk-len)", False),
    ],
)
def test_a_refusal_that_ends_by_itself_is_waited_for(text: str, is_later: bool) -> None:
    assert is_for_now(redis.ResponseError(text)) == is_later


@pytest.mark.parametrize(
    "text",
    [
        "The user executing the script can't run this command or subcommand script: 6e1, on @user_script:1.",
        "The user executing the script can't access at least one of the keys mentioned in the command arguments",
        "ACL failure in script: User u has no permissions to run the 'pexpire' command script: 6e1",
    ],
)
def test_a_right_that_a_script_lacks_is_a_right_that_the_user_lacks(text: str) -> None:
    assert is_denied(redis.ResponseError(text))
    assert not is_for_now(redis.ResponseError(text))
