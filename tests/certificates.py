"""Certificates for TLS tests, made with the openssl program: an authority, a server and a client."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
"""An RSA key takes a hundred times as long to make."""


@dataclass(frozen=True)
class KeyPair:
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """All signed by `ca`, whose key is that of `authority`; the server's is valid for 127.0.0.1 and localhost."""

    ca: Path
    server: KeyPair
    client: KeyPair

    @property
    def authority(self) -> KeyPair:
        return KeyPair(self.ca, self.ca.with_suffix(".key"))


def make_certificates(folder: Path) -> Certificates:
    folder.mkdir(parents=True, exist_ok=True)
    authority = KeyPair(folder / "ca.pem", folder / "ca.key")
    openssl(
        *("req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=pydbsync test authority"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", str(authority.key), "-out", str(authority.certificate)),
    )
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    server = sign(folder / "server", authority, name="localhost", extensions=names)
    client = sign(folder / "client", authority, name="app", extensions="extendedKeyUsage=clientAuth")
    return Certificates(authority.certificate, server, client)


def sign(path: Path, authority: KeyPair, *, name: str, extensions: str, days: int = 2) -> KeyPair:
    pair = KeyPair(path.with_suffix(".pem"), path.with_suffix(".key"))
    request, settings = path.with_suffix(".csr"), path.with_suffix(".cnf")
    # Python 3.13 and newer verify strictly: key usage and key identifiers must be there.
    strict = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nkeyUsage=digitalSignature,keyEncipherment\n"
    settings.write_text(strict + extensions + "\n", encoding="utf-8")
    openssl(
        *("req", *NEW_KEY, "-subj", f"/CN={name}"),
        *("-keyout", str(pair.key), "-out", str(request)),
    )
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(authority.certificate), "-CAkey", str(authority.key)),
        *("-CAcreateserial", "-days", str(days), "-extfile", str(settings), "-out", str(pair.certificate)),
    )
    return pair


def openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr}")
