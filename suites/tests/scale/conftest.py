"""A real S3 over HTTP, moto's, in this process; tables in it and in folders."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from titanstore.scale import Location

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCY"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Endpoint of moto's server; children that it lets in find their credentials as users do."""
    pytest.importorskip("lance", reason="needs pylance: make test-scale")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").disabled = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("LANCE_LOG", "error")
        moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        moto.start()
        try:
            host, port = moto.get_host_and_port()
            yield f"http://{host}:{port}"
        finally:
            moto.stop()


@pytest.fixture(scope="module")
def s3(server: str) -> Any:
    """A client that looks at what lies in the buckets."""
    import boto3

    return boto3.client("s3", endpoint_url=server)


@pytest.fixture
def bucket(server: str, s3: Any) -> Location:
    """A place for a table in a bucket of its own."""
    name = f"emb-{secrets.token_hex(4)}"
    s3.create_bucket(Bucket=name)
    return Location(uri=f"s3://{name}/tables/titan.lance", endpoint=server)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A place for a table, of either kind."""
    if request.param == "bucket":
        found: Location = request.getfixturevalue("bucket")
        return found
    pytest.importorskip("lance", reason="needs pylance: make test-scale")
    return Location(uri=str(tmp_path / "titan.lance"))


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    """A place for a table in a folder."""
    pytest.importorskip("lance", reason="needs pylance: make test-scale")
    return Location(uri=str(tmp_path / "titan.lance"))


@pytest.fixture
def objects(s3: Any) -> Callable[[Location], dict[str, bytes]]:
    """What lies in the bucket of a place, by name."""

    def found(place: Location) -> dict[str, bytes]:
        name = place.uri.split("/")[2]
        listed = s3.list_objects_v2(Bucket=name).get("Contents", [])
        return {
            each["Key"]: s3.get_object(Bucket=name, Key=each["Key"])["Body"].read()
            for each in listed
        }

    return found
