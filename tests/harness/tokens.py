"""A token endpoint: client credentials for tokens that nobody has signed, which a broker may be told to take."""

import base64
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class TokenEndpoint:
    """It serves until the process ends. `secret` may be changed, and `status` set to fail with; `given` are the tokens."""

    def __init__(self, port, client, secret, life):
        self.client, self.secret, self.life = client, secret, life
        self.status = None
        self.given = []
        self.end = 0  # of the newest token
        self.url = f"http://127.0.0.1:{port}/token"
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, login, form):
        """Status and body of an answer."""
        if self.status is not None:
            return self.status, {}
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        kind, _, encoded = login.partition(" ")
        if kind != "Basic" or base64.b64decode(encoded).decode() != f"{self.client}:{self.secret}":
            return 401, {"error": "invalid_client", "error_description": login}
        now = time.time()
        self.end = now + self.life
        token = _unsigned({"sub": self.client, "iat": now, "exp": self.end, "scope": form.get("scope", [])})
        self.given.append(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.life}


def _unsigned(claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}."


def _handler(endpoint):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, body = endpoint.answer(self.headers.get("Authorization", ""), form)
            body = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler
