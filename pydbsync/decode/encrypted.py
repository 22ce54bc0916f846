"""Messages that Maxwell encrypted: `encrypt: data` (the images of a row) and `encrypt: all` (the whole message).

AES in CBC mode with PKCS #5 padding, the key as UTF-8, a new initialisation vector each message.
Source: https://maxwells-daemon.io/encryption/
"""

from __future__ import annotations

import base64
import importlib
from typing import Any

import msgspec

from pydbsync.errors import ConfigError, DecodeError

_KEY_BYTES = (16, 24, 32)


class _Encrypted(msgspec.Struct):
    iv: str
    bytes: str


class _EncryptedMessage(msgspec.Struct):
    encrypted: _Encrypted | None = None


_decode = msgspec.json.Decoder(_EncryptedMessage).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Decryption:
    """Gives back the messages as Maxwell writes them without encryption; what is not encrypted stays as it is."""

    def __init__(self, secret_key: str, *, former: str = "") -> None:
        """`former` is the key that Maxwell had before. Raises ConfigError where a key has no length of AES, or the
        library is not there."""
        self._keys = [_key(secret_key, "maxwell_secret_key")]
        if former:
            self._keys.append(_key(former, "maxwell_former_secret_key"))
        try:
            ciphers = importlib.import_module("cryptography.hazmat.primitives.ciphers")
            padding = importlib.import_module("cryptography.hazmat.primitives.padding")
        except ImportError as exc:
            raise ConfigError(
                "the library `cryptography` is missing: install pydbsync[encrypted]", key="maxwell_secret_key"
            ) from exc

        def decrypt(text: bytes, iv: bytes, key: bytes) -> bytes:
            decryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CBC(iv)).decryptor()
            unpadder = padding.PKCS7(128).unpadder()
            padded = decryptor.update(text) + decryptor.finalize()
            return bytes(unpadder.update(padded) + unpadder.finalize())

        self._decrypt = decrypt

    def __call__(self, body: bytes) -> list[bytes]:
        """See spoken.Translate."""
        if b'"encrypted"' not in body:
            return [body]
        try:
            encrypted = _decode(body).encrypted
        except (msgspec.MsgspecError, RecursionError) as exc:
            raise DecodeError(f"the message is not one that Maxwell encrypted: {exc}") from exc
        if encrypted is None:
            return [body]
        plain, found = self._read(encrypted)
        whole = _decode_object(body)
        del whole["encrypted"]
        return [msgspec.json.encode({**whole, **found}) if whole else plain]

    def _read(self, encrypted: _Encrypted) -> tuple[bytes, dict[str, Any]]:
        why: Exception | None = None
        for key in self._keys:
            try:
                text, iv = base64.b64decode(encrypted.bytes, validate=True), base64.b64decode(encrypted.iv)
                plain = self._decrypt(text, iv, key)
                return plain, _decode_object(plain)
            except (ValueError, msgspec.MsgspecError) as exc:  # a wrong key gives no padding, or what is no JSON
                why = why or exc
        raise DecodeError(
            "the message cannot be decrypted: maxwell_secret_key is not the secret_key of this Maxwell"
        ) from why


def _key(text: str, name: str) -> bytes:
    key = text.encode()
    if len(key) not in _KEY_BYTES:
        raise ConfigError(f"expected a key of 16, 24 or 32 bytes, as Maxwell's secret_key, got {len(key)}", key=name)
    return key
