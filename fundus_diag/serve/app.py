"""The web application: a page for people, the REST form of TensorFlow Serving for programs.

Nothing that is sent is kept, written to disk or logged; every request brings what it is about.
"""

import asyncio
import contextlib
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from fundus_diag.data.labels import label_text
from fundus_diag.export.samples import drawn_photographs
from fundus_diag.report.case import case_page
from fundus_diag.report.pictures import data_url
from fundus_diag.serve import asked, guard, rest, views
from fundus_diag.serve.batcher import Batcher, Busy
from fundus_diag.serve.counts import Counts
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.version import __version__

FILES = Path(str(resources.files("fundus_diag"))) / "serve"
STATIC = {"page.js": "text/javascript", "page.css": "text/css"}
EXAMPLES = 3
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
JSON = "application/json"


def make_app(served, hosts, token=None, max_batch=16, wait=0.004, max_waiting=64, room=None):
    """The application.

    Args:
        served: `served.Served`.
        hosts, token: see `guard.check`.
        max_batch, wait, max_waiting: see `Batcher`; of each signature, and of maps.
        room: `guard.Room`.
    """
    room = room or guard.Room()
    network, small = ThreadPoolExecutor(3), ThreadPoolExecutor(2)
    state, waiting, counts = {}, [], Counts()

    @contextlib.asynccontextmanager
    async def lifespan(_):
        for name, function in served.functions.items():
            one = name == "explain"  # takes one row at a time in any case
            state[name] = Batcher(function, network, 1 if one else max_batch, wait, max_waiting,
                                  1 if one else 2)  # fmt: skip
        state["maps"] = asyncio.Semaphore(1)
        yield
        for name in served.functions:
            await state[name].close()
        for pool in (network, small):
            pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    @app.middleware("http")
    async def around(request, call_next):
        started = time.monotonic()
        try:
            if request.url.path != "/healthz":
                guard.check(request, hosts, None if _brings(request, token) else token)
            response = await call_next(request)
        except guard.Refused as error:
            response = _refusal(error)
        except Exception:  # whatever it was, its reader learns nothing of this machine
            traceback.print_exc(file=sys.stderr)
            response = JSONResponse({"error": "internal error"}, 500)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        counts.took(request, response.status_code, time.monotonic() - started)
        return response

    @app.exception_handler(guard.Refused)
    async def refused(_, error):
        return _refusal(error)

    @app.exception_handler(404)
    async def unknown(request, _):
        return JSONResponse({"error": f"{request.method} {request.url.path}: not found"}, 404)

    async def off_loop(function, *arguments):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(small, function, *arguments)

    async def answered(name, inputs):
        try:
            return await state[name](inputs)
        except Busy as error:
            raise guard.busy() from error

    # For programs.

    base = f"/v1/models/{served.name}"

    @app.get(base)
    @app.get(f"{base}/versions/{served.version}")
    async def status():
        fine = {"error_code": "OK", "error_message": ""}
        entry = {"version": served.version, "state": "AVAILABLE", "status": fine}
        return {"model_version_status": [entry]}

    @app.post(f"{base}:predict")
    @app.post(f"{base}/versions/{served.version}:predict")
    async def predict(request: Request):
        async with room.body(request) as body:
            try:
                name, inputs, by_rows = await off_loop(rest.parse, body, served.specs)
            except rest.Wrong as error:
                raise guard.Refused(400, str(error)) from error
            found = await answered(name, inputs)
            counts.answered(found.get("error"))
            return Response(await off_loop(rest.reply, found, by_rows), media_type=JSON)

    @app.get("/healthz")
    async def healthz():
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics():
        count = len(waiting) + sum(state[x].waiting.qsize() for x in served.functions)
        return Response(counts.text(count), media_type="text/plain; version=0.0.4")

    # For people.

    page = _page(served)
    examples = drawn_photographs(EXAMPLES, 512)

    @app.get("/")
    async def index(request: Request):
        if _brings(request, token):
            response = RedirectResponse("/", 303)
            response.set_cookie(guard.COOKIE, token, httponly=True, samesite="strict")
            return response
        return HTMLResponse(page)

    @app.get("/static/{name}")
    async def static(name: str):
        if name not in STATIC:
            raise guard.Refused(404, "not found")
        return Response((FILES / "static" / name).read_bytes(), media_type=STATIC[name])

    @app.get("/examples/{number}.jpg")
    async def example(number: int):
        if not 0 <= number < EXAMPLES:
            raise guard.Refused(404, "not found")
        return Response(examples[number], media_type="image/jpeg")

    async def read(body):
        return await off_loop(asked.asked, body, served.pair)

    async def answers_of(photographs):
        found = await answered("serving_default", views.rows_of(served, photographs))
        counts.answered(found["error"])
        return await off_loop(views.answers, served, photographs, found)

    @app.post("/answer")
    async def answer(request: Request):
        async with room.body(request) as body:
            _, photographs = await read(body)
            return JSONResponse({"answers": await answers_of(photographs)})

    async def alone(function, *arguments):
        """Maps are made one after the other; so many may wait."""
        if len(waiting) >= max_waiting:
            raise guard.busy()
        waiting.append(function)
        try:
            async with state["maps"]:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(network, function, *arguments)
        except (DataError, UsageError) as error:
            raise guard.Refused(422, str(error)) from error
        finally:
            waiting.pop()

    @app.post("/map")
    async def map(request: Request):
        async with room.body(request) as body:
            what, photographs = await read(body)
            chosen = asked.map_choice(what)
            label = what.get("label")
            if label not in served.labels:
                known = ", ".join(served.labels)
                raise guard.Refused(404, f"label {rest.short(label)}: there are {known}")
            if not served.pair and len(photographs) != 1:
                raise guard.Refused(422, "a map is of one photograph")
            pngs, nothing = await alone(views.maps, served, photographs, label, *chosen)
            urls = {eye: data_url(png, "png") for eye, png in pngs.items()}
            return JSONResponse({"maps": urls, "nothing": bool(nothing)})

    @app.post("/case")
    async def case(request: Request):
        async with room.body(request) as body:
            what, photographs = await read(body)
            chosen = asked.map_choice(what)
            found = await answers_of(photographs)
            groups = [photographs] if served.pair else [[x] for x in photographs]

            def parts():
                return [
                    answer | {"maps": views.case_parts(served, group, answer, *chosen)}
                    if not any(x.why for x in group) and answer["rows"]
                    else answer | {"maps": []}
                    for group, answer in zip(groups, found, strict=True)
                ]

            text = await off_loop(case_page, served, await alone(parts), chosen)
            headers = {"Content-Disposition": 'attachment; filename="case.html"'}
            return HTMLResponse(text, headers=headers)

    return app


def _page(served):
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FILES / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    facts = {
        "labels": [{"name": x, "text": label_text(x)} for x in served.labels],
        "pair": served.pair,
        "grade": served.config["task"] == "grade",
        "methods": views.choices(served),
        "filters": list(views.FILTER_NAMES.items()) if served.run is not None else [],
        "validated": served.validation is not None,
    }
    return environment.get_template("page.html.j2").render(
        name=served.name,
        facts=facts,
        encoder=served.config["encoder"],
        size=served.config["image_size"],
        drawn=bool(served.config["data"].get("drawn")),
        examples=EXAMPLES,
        version=__version__,
    )


def _brings(request, token):
    """Whether the address of the page brings the token, as the one does that is printed."""
    given = request.query_params.get("token", "") if request.url.path == "/" else ""
    return token is not None and bool(given) and guard.same(given, token)


def _refusal(error):
    return JSONResponse({"error": str(error)}, error.status, error.headers)
