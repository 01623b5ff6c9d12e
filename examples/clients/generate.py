#!/usr/bin/env python3
"""Draws a picture with nothing but Python's standard library.

    generate.py "a red apple" apple.png --seed 7 --steps 20 --progress

As a module: `Client("http://localhost:8080").draw("a red apple", seed=7)` gives a Picture.
"""

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass
class Picture:
    file: bytes
    seed: int
    request_id: str


class Problem(Exception):
    """What the server says is wrong (RFC 9457)."""

    def __init__(self, document, retry_after=None):
        super().__init__(document.get("detail") or document.get("title") or "unknown problem")
        self.document = document
        self.retry_after = retry_after


class Client:
    def __init__(self, url, timeout=1000.0, retries=5, key=None):
        self.url, self.timeout, self.retries = url.rstrip("/"), timeout, retries
        self.headers = {"authorization": f"Bearer {key}"} if key else {}

    def draw(self, prompt, media_type="image/png", on_step=None, **parameters):
        """Draws a picture. `parameters` are the API's fields; `on_step(done, total)` is told the progress."""
        fields = {"prompt": prompt, **{name: value for name, value in parameters.items() if value is not None}}
        if isinstance(fields.get("image"), bytes):
            fields["image"] = base64.b64encode(fields["image"]).decode()
        accept = media_type if on_step is None else f"text/event-stream, {media_type}"
        request = urllib.request.Request(
            self.url + "/generate",
            data=json.dumps(fields).encode(),
            headers={"content-type": "application/json", "accept": accept, **self.headers},
        )
        for left in range(self.retries, -1, -1):
            try:
                return self._send(request, on_step)
            except Problem as problem:
                # 429 and 503 come with the time after which it is worth trying again.
                if problem.retry_after is None or left == 0:
                    raise
                time.sleep(problem.retry_after)

    def _send(self, request, on_step):
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                if on_step is not None:
                    return self._events(response, on_step)
                headers = response.headers
                return Picture(response.read(), int(headers["x-seed"]), headers["x-request-id"])
        except urllib.error.HTTPError as error:
            try:
                document = json.load(error)
            except ValueError:
                document = {"detail": f"{error.code} {error.reason}"}
            retry_after = error.headers.get("retry-after")
            raise Problem(document, float(retry_after) if retry_after else None) from None

    @staticmethod
    def _events(response, on_step):
        event = ""
        for line in response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                data = json.loads(value)
                if event == "step":
                    on_step(data["step"], data["of"])
                elif event == "picture":
                    return Picture(base64.b64decode(data["image"]), data["seed"], data["request_id"])
                elif event == "error":
                    raise Problem(data)
        raise Problem({"detail": "the connection ended before the picture came"})


def main():
    parser = argparse.ArgumentParser(description="Draws a picture.")
    parser.add_argument("prompt")
    parser.add_argument("file", help="where to write it: .png, .jpg or .webp")
    parser.add_argument("--url", default=os.environ.get("DIFFUSION_URL", "http://localhost:8080"))
    parser.add_argument("--negative-prompt")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--scheduler")
    parser.add_argument("--image", help="a picture to start from")
    parser.add_argument("--strength", type=float)
    parser.add_argument("--progress", action="store_true", help="show the steps as they are done")
    args = vars(parser.parse_args())

    url, file, prompt, progress = (args.pop(name) for name in ("url", "file", "prompt", "progress"))
    media_type = MEDIA_TYPES.get(os.path.splitext(file)[1].lower())
    if media_type is None:
        parser.error(f"{file} must end in one of {', '.join(MEDIA_TYPES)}")
    if args["image"]:
        with open(args["image"], "rb") as start:
            args["image"] = start.read()
    on_step = (lambda done, total: print(f"\r{done}/{total}", end="", file=sys.stderr)) if progress else None
    try:
        # Not a flag: other users of the machine can see those.
        picture = Client(url, key=os.environ.get("DIFFUSION_API_KEY")).draw(prompt, media_type, on_step, **args)
    except (Problem, urllib.error.URLError) as error:
        sys.exit(f"error: {error}")
    with open(file, "wb") as out:
        out.write(picture.file)
    print(f"{file}: seed {picture.seed}, request {picture.request_id}")


if __name__ == "__main__":
    main()
