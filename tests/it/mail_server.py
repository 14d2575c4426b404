"""A mail server for the tests: aiosmtpd, with faults on request.

Reads one JSON object of settings from its argument, tells its port in the first line, keeps every message as one line of
JSON in the file `into`, with what an independent reader (Python's `email`) makes of it, and ends when its input ends.
"""
import asyncio, base64, email, email.policy, json, ssl, sys, threading

from aiosmtpd.smtp import SMTP, AuthResult

settings = json.loads(sys.argv[1])


def parsed(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    parts = []
    for part in message.walk():
        if not part.is_multipart():
            content = part.get_content()
            if isinstance(content, bytes):
                content = base64.b64encode(content).decode()
            parts.append({"type": part.get_content_type(), "name": part.get_filename(), "content": content, "defects": [repr(d) for d in part.defects]})
    return {
        "type": message.get_content_type(),
        "headers": [[name, str(value)] for name, value in message.items()],
        "to": [[one.display_name, one.addr_spec] for one in message["to"].addresses] if message["to"] else [],
        "defects": [repr(d) for d in message.defects] + [repr(d) for v in message.values() for d in getattr(v, "defects", [])],
        "parts": parts,
    }


class Handler:
    def __init__(self):
        self.asked = {}

    async def handle_RCPT(self, server, session, envelope, address, options):
        replies = settings.get("rcpt", {}).get(address, [])
        asked = self.asked.get(address, 0)
        self.asked[address] = asked + 1
        if asked < len(replies) and replies[asked]:
            return replies[asked]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        replies = settings.get("data", [])
        asked = self.asked.get("data", 0)
        self.asked["data"] = asked + 1
        reply = replies[asked] if asked < len(replies) else ""
        if reply and not reply.startswith("keep"):
            return reply
        record = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
            "user": session.auth_data,
            "bytes": base64.b64encode(envelope.original_content).decode(),
            "message": parsed(envelope.original_content),
        }
        with open(settings["into"], "a") as file:
            file.write(json.dumps(record) + "\n")
        if reply:  # It is kept, but the confirmation does not come.
            await asyncio.sleep(3600)
        return "250 2.0.0 queued"


class Server(SMTP):
    cuts = settings.get("cuts", 0)
    line_length_limit = 4096

    async def smtp_DATA(self, arg):
        if Server.cuts > 0:
            Server.cuts -= 1
            await self.push("354 go on")
            await self._reader.readuntil(b"\r\n")
            self.transport.abort()
            return
        await super().smtp_DATA(arg)


def authenticate(server, session, envelope, mechanism, data):
    user, password = data.login.decode(), data.password.decode()
    if [user, password] == settings["login"]:
        return AuthResult(success=True, auth_data=user)
    return AuthResult(success=False, handled=False, message="535 5.7.8 no such password: " + password)


async def serve():
    context = None
    if "certificate" in settings:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["certificate"], settings["key"])
    options = {"hostname": "mail.example.com", "data_size_limit": 33554432, "enable_SMTPUTF8": settings.get("utf8", False)}
    if settings.get("login"):
        options |= {"auth_required": True, "auth_require_tls": False, "authenticator": authenticate}
        options["auth_exclude_mechanism"] = settings.get("without", [])
    implicit = settings.get("implicit", False)
    if context and not implicit:
        options |= {"tls_context": context, "require_starttls": True}
    handler = Handler()
    server = await asyncio.get_running_loop().create_server(lambda: Server(handler, **options), "127.0.0.1", 0, ssl=context if implicit else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def end():
    sys.stdin.read()
    import os
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
asyncio.run(serve())
