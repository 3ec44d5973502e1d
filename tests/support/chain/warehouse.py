"""Flask, which asks the courier by requests and then leaves a message for it in Redis. ``python -m`` runs it."""

import json
import logging
import threading

import redis
import requests
import waitress
from flask import Flask, Response, jsonify, request

from tests.support.chain.passing import chosen
from tests.support.chain.setting import Diary, Setting

setting = Setting.read()
passing = chosen(setting)
diary = Diary(setting, "warehouse")
queue = redis.Redis(port=setting.queue)
app = Flask(__name__)
own = threading.local()  # a session of requests is not made for several threads


def session() -> requests.Session:
    if not hasattr(own, "session"):
        own.session = passing.requests_session()
    return own.session  # type: ignore[no-any-return]


@app.post("/reserve/<number>")
def reserve(number: str) -> Response:
    diary.write("warehouse", number, request.headers.items(), passing.told())
    answer = session().get(f"{setting.url(setting.courier)}/quote/{number}", timeout=30)
    answer.raise_for_status()
    headers: dict[str, str] = {}
    passing.inject(headers)
    queue.rpush("parcels", json.dumps({"order": number, "headers": headers}))
    return jsonify(answer.json())


@app.post("/delivered/<number>")
def delivered(number: str) -> Response:
    diary.write("callback", number, request.headers.items(), passing.told())
    return Response(status=204)


if __name__ == "__main__":
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # tells of every request that waits a moment
    waitress.serve(passing.wsgi(app), host="127.0.0.1", port=setting.warehouse, threads=12, _quiet=True)
