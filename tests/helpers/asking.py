"""Questions to the server, and what it says when it refuses one."""

import base64


def b64(data):
    return base64.b64encode(data).decode()


def sent(*photographs):
    """The body of a question of the page, of (eye, content)."""
    return {"photographs": [{"eye": eye, "data": b64(data)} for eye, data in photographs]}


def refused(response, status, said):
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert said in response.json()["error"]
    assert "Traceback" not in response.text
