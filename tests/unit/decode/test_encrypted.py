"""Messages that Maxwell encrypted, in both of its ways."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from pydbsync.decode.encrypted import Decryption
from pydbsync.errors import ConfigError, DecodeError

KEY = "0123456789abcdef"
PLAIN: dict[str, Any] = {"database": "d", "table": "t", "type": "update", "ts": 1, "position": "b.000001:4"}
IMAGES: dict[str, Any] = {"data": {"id": 1, "v": "é😀"}, "old": {"v": None}}


def encrypted(text: str, key: str = KEY) -> dict[str, Any]:
    iv = bytes(range(16))
    padder = PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key.encode()), modes.CBC(iv)).encryptor()
    raw = encryptor.update(padded) + encryptor.finalize()
    return {"encrypted": {"iv": base64.b64encode(iv).decode(), "bytes": base64.b64encode(raw).decode()}}


def test_the_images_of_a_row_are_given_back() -> None:
    body = json.dumps({**PLAIN, **encrypted(json.dumps(IMAGES))}).encode()
    (found,) = Decryption(KEY)(body)
    assert json.loads(found) == {**PLAIN, **IMAGES}


def test_a_whole_message_is_given_back_byte_for_byte() -> None:
    plain = json.dumps({**PLAIN, **IMAGES}, ensure_ascii=False)
    assert Decryption(KEY)(json.dumps(encrypted(plain)).encode()) == [plain.encode()]


@pytest.mark.parametrize("body", [b"{", b'{"data": {"encrypted": 1}}', json.dumps({**PLAIN, **IMAGES}).encode()])
def test_what_is_not_encrypted_stays_as_it_is(body: bytes) -> None:
    assert Decryption(KEY)(body) == [body]


@pytest.mark.parametrize("key", ["fedcba9876543210", "0" * 32])
def test_another_key_is_named(key: str) -> None:
    with pytest.raises(DecodeError, match="maxwell_secret_key is not the secret_key"):
        Decryption(key)(json.dumps({**PLAIN, **encrypted(json.dumps(IMAGES))}).encode())


def test_messages_of_before_a_change_of_the_key_are_read_by_the_former_one() -> None:
    decryption = Decryption("fedcba9876543210", former=KEY)
    for key in (KEY, "fedcba9876543210"):
        (found,) = decryption(json.dumps({**PLAIN, **encrypted(json.dumps(IMAGES), key)}).encode())
        assert json.loads(found) == {**PLAIN, **IMAGES}
    with pytest.raises(DecodeError, match="maxwell_secret_key is not the secret_key"):
        decryption(json.dumps({**PLAIN, **encrypted(json.dumps(IMAGES), "0" * 16)}).encode())


def test_a_key_of_no_length_of_aes_is_refused() -> None:
    with pytest.raises(ConfigError, match="16, 24 or 32 bytes"):
        Decryption("short")
    with pytest.raises(ConfigError, match=r"^maxwell_former_secret_key: expected a key of 16"):
        Decryption(KEY, former="short")
