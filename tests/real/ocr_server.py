"""Optical character recognition as a model behind the chat API, for `.venv-real`: it says what is written in a picture.

    .venv-real/bin/python tests/real/ocr_server.py

It sees the bytes that were sent and nothing else, so it is a witness of what arrives.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

from rapidocr import RapidOCR

READER = RapidOCR(
    params={
        "Global.log_level": "error",
        "Global.use_cls": False,  # which would turn pictures that arrive upside down
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    }
)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = [part for message in asked["messages"] for part in message["content"] if isinstance(part, dict)]
        pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        lines = [line for url in pictures for line in READER(base64.b64decode(url.partition(",")[2])).txts or ()]
        message = {"role": "assistant", "content": "\n".join(lines)}
        body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        print("| processing task", flush=True)


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(f"serving at http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()
