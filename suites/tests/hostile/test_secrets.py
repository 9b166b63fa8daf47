"""Risk: a credential or an input text ends up in a file, a log, a metric or a page.

The files of a gate run are looked through in suites/tests/proofs/test_gates.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TEXT, SECRET = "the patient is Hildegard", "credential-5f0c9b"
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

# A client whose credentials come from the environment, as a user's do, over real HTTP
_SESSION = """
import json, logging, shutil, sys
from pathlib import Path
import boto3
from fixtures.titan.answers import EmulatedTitan
from fixtures.titan.responder import TitanResponder
from fixtures.titan.wire import titan_server
from titanstore import EmbeddingStore
from titanstore.cli import main
from titanstore.clients.bedrock import wrap

folder, kept, text = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
logging.basicConfig(level=logging.WARNING)
logging.getLogger("titanstore").setLevel(logging.DEBUG)

class Service:
    def __init__(self):
        self.titan = TitanResponder(answers=EmulatedTitan())
    def answer(self, model, body):
        return self.titan.respond(model, body)

V2 = "amazon.titan-embed-text-v2:0"
with titan_server(Service()) as wire, EmbeddingStore.open(folder) as store:
    plain = boto3.client("bedrock-runtime", region_name="eu-west-1", endpoint_url=wire.url)
    client = wrap(plain, store)
    for number in range(3):
        body = json.dumps({"inputText": f"{text} {number}", "dimensions": 256})
        for _ in range(2):
            client.invoke_model(modelId=V2, body=body)["body"].read()
    embedder = client.titan.embedder(V2)
    embedder.warm([f"{text} {number}" for number in range(5)])
    for wrong in ({"text": text}, text * 20_000, None):
        try:
            embedder.embed(wrong)
        except Exception as error:
            print(repr(error), error)
    try:
        client.invoke_model(modelId=V2, body=json.dumps({"inputText": text, "dimensions": 7}))
    except Exception as error:
        print(repr(error), error)
    vector = embedder.embed(f"{text} 1")
    print(store.search(vector, 2), store.stats(), client, client.titan.counters, store)
    store.snapshot("a label")
    own = f"titanstore-*/{store._folder.store_id.hex()}-*"
    for place, path in enumerate(Path("/dev/shm").glob(own)):
        shutil.copyfile(path, kept / f"figures-{place}")
    for words in (["top", "--json"], ["top", "--once"], ["info"], ["check"], ["versions"]):
        try:
            main([*words, str(folder)], standalone_mode=False)
        except Exception as error:
            print(words, repr(error))
    store.close()  # it fails its client from now on
    client.invoke_model(modelId=V2, body=body)["body"].read()
"""


def test_neither_texts_nor_credentials_are_written_anywhere(tmp_path: Path) -> None:
    store, kept = tmp_path / "store", tmp_path / "kept"
    kept.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _SESSION, str(store), str(kept), TEXT],
        cwd=ROOT,
        env={
            **os.environ,
            **dict.fromkeys(CREDENTIALS, SECRET),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        },
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"STORE", "00001.seg", "data.mdb", "figures-0"} <= names
    told = {path.name: path.read_bytes() for path in files}
    told |= {"standard output": done.stdout, "standard error": done.stderr}
    assert b"vectors" in done.stdout
    assert b"the store failed" in done.stderr  # something was logged
    for name, content in told.items():
        assert b"Hildegard" not in content, name
        assert SECRET.encode() not in content, name
