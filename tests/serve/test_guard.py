"""Who may ask, by names, sites and tokens; and how much may be sent."""

import asyncio

import pytest
from starlette.requests import Request

from fundus_diag.serve import guard


def request(method="GET", parts=(), **headers):
    """A request whose body comes in `parts`; a number among them is a pause in seconds."""
    left = list(parts)

    async def receive():
        while left:
            part = left.pop(0)
            if isinstance(part, bytes):
                return {"type": "http.request", "body": part, "more_body": bool(left)}
            await asyncio.sleep(part)
        return {"type": "http.request", "body": b"", "more_body": False}

    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": pairs}
    return Request(scope, receive)


HOSTS = guard.known_hosts("127.0.0.1")


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("localhost", True), ("localhost:8501", True), ("LOCALHOST:1", True),
        ("127.0.0.1:8501", True), ("[::1]:8501", True), ("[::1]", True), ("evil.example", False),
        ("evil.example:8501", False), ("localhost.evil.example", False), ("", False),
        ("127.0.0.1.evil.example", False), ("[::2]:80", False),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_taken(host, fine):
    if fine:
        guard.check(request(host=host), HOSTS)
    else:
        with pytest.raises(guard.Refused, match="Host") as error:
            guard.check(request(host=host), HOSTS)
        assert error.value.status == 400


def test_names_may_be_added_and_the_address_listened_on_is_one():
    hosts = guard.known_hosts("192.0.2.7", ["Clinic.example"])
    for host in ("192.0.2.7:80", "clinic.example", "localhost"):
        guard.check(request(host=host), hosts)
    assert guard.is_loopback("127.0.0.1")
    assert guard.is_loopback("127.9.9.9")
    assert guard.is_loopback("::1")
    assert guard.is_loopback("localhost")
    assert not any(map(guard.is_loopback, ("0.0.0.0", "::", "192.0.2.7", "clinic.example")))


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({}, True),  # a program's
        ({"origin": "http://localhost:8501"}, True),
        ({"origin": "http://localhost:8501", "sec_fetch_site": "same-origin"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://localhost:9999"}, False),
        ({"origin": "null"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
    ],
)
def test_posts_of_other_sites_are_refused(headers, fine):
    headers = {"host": "localhost:8501", **headers}
    guard.check(request("GET", **headers), HOSTS)
    if fine:
        guard.check(request("POST", **headers), HOSTS)
    else:
        with pytest.raises(guard.Refused, match="another site") as error:
            guard.check(request("POST", **headers), HOSTS)
        assert error.value.status == 403


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({"authorization": "Bearer sesame"}, True),
        ({"authorization": "bearer sesame"}, True),
        ({"cookie": "fundus_diag_token=sesame"}, True),
        ({}, False),
        ({"authorization": "Bearer other"}, False),
        ({"authorization": "Basic sesame"}, False),
        ({"authorization": "Bearer"}, False),
        ({"cookie": "fundus_diag_token="}, False),
    ],
)
def test_a_token_is_asked_for(headers, fine):
    headers = {"host": "localhost", **headers}
    if fine:
        guard.check(request(**headers), HOSTS, "sesame")
    else:
        with pytest.raises(guard.Refused, match="token") as error:
            guard.check(request(**headers), HOSTS, "sesame")
        assert error.value.status == 401


def body_of(one, room=None, limit=100):
    async def read():
        async with (room or guard.Room()).body(one, limit) as body:
            return body

    return asyncio.run(read())


def test_a_body_is_read_up_to_its_limit():
    assert body_of(request(parts=[b"ab", b"c"])) == b"abc"
    assert body_of(request(parts=[b"x" * 100])) == b"x" * 100
    for sent in (request(parts=[b"x" * 60, b"y" * 41]), request(content_length="101")):
        with pytest.raises(guard.Refused) as error:
            body_of(sent)
        assert error.value.status == 413


def test_a_slow_body_is_given_up(monkeypatch):
    monkeypatch.setattr(guard, "IDLE", 0.05)
    with pytest.raises(guard.Refused) as error:
        body_of(request(parts=[b"a", 5, b"b"]))
    assert error.value.status == 408
    monkeypatch.setattr(guard, "IDLE", 5)
    monkeypatch.setattr(guard, "LONGEST", 0.2)
    with pytest.raises(guard.Refused) as error:
        body_of(request(parts=[x for _ in range(50) for x in (b"a", 0.05)]))
    assert error.value.status == 408


def test_bodies_that_are_there_at_once_are_bounded_and_room_is_given_back():
    room = guard.Room(100)

    async def several():
        async with room.body(request(parts=[b"x" * 60])):
            with pytest.raises(guard.Refused) as error:
                async with room.body(request(parts=[b"y" * 30, b"y" * 30])):
                    pass
            assert error.value.status == 503
            assert error.value.headers == {"Retry-After": "1"}
            async with room.body(request(parts=[b"z" * 40])) as body:
                assert len(body) == 40
                assert room.free == 0
        with pytest.raises(ValueError, match="inside"):
            async with room.body(request(parts=[b"x" * 60])):
                raise ValueError("inside")
        return room.free

    assert asyncio.run(several()) == 100
