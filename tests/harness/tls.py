"""A certificate authority of a scenario's own, and the certificates that it gives, as PEM files. By openssl."""

import subprocess

DAYS = "2"


class Authority:
    """Files in a folder: `ca` is the authority's own certificate."""

    def __init__(self, folder, name="authority"):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, name
        self.ca, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_new(self._key), "-days", DAYS, "-subj", f"/CN={name}", "-out", self.ca)

    def certificate(self, name):
        """Certificate and private key of somebody at 127.0.0.1, the key readable by the owner alone."""
        certificate, key, request = (self.folder / f"{self.name}-{name}.{kind}" for kind in ("pem", "key", "csr"))
        _openssl("req", *_new(key), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", request)
        sign = ("-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-copy_extensions", "copy", "-days", DAYS)
        _openssl("x509", "-req", "-in", request, *sign, "-out", certificate)
        key.chmod(0o600)
        return certificate, key


def _new(key):
    return ("-newkey", "rsa:2048", "-nodes", "-keyout", key)


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
