"""Calls of real Bedrock through boto3's own chain of credentials, one try a call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fixtures.titan.digits import check_answer
from harness.errors import HarnessError, UsageError
from harness.record.budget import Budget

__all__ = ["Answer", "LostCallError", "ask", "bedrock_runtime"]

_TRIES = 8
_WAIT_S, _WAIT_S_MAX = 0.5, 20.0
_TIMEOUT_S = 60
# Refusals that come before any token is looked at: not billed, and worth another try
_BUSY = {"ThrottlingException", "ServiceUnavailableException", "ModelNotReadyException"}
_NO_ACCESS = {
    "AccessDeniedException": "the credentials may not call this model: enable it in the console, "
    "or allow bedrock:InvokeModel",
    "UnrecognizedClientException": "the credentials are not valid",
    "InvalidSignatureException": "the credentials are not valid",
    "ExpiredTokenException": "the credentials have expired",
    "ResourceNotFoundException": "this region does not serve the model, or no longer",
}


class Answer(NamedTuple):
    """What came back."""

    body: bytes
    tokens: int


class LostCallError(Exception):
    """No whole answer came; the call may have been billed."""


def bedrock_runtime(region: str | None, endpoint_url: str | None) -> Any:
    """A client with the ambient credentials, which does not try again by itself.

    Raises
    ------
    UsageError
        boto3 is not installed, no credentials were found, no region is set; the message says what
        to do, and names no secret.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise UsageError("boto3 is not installed: pip install 'titanstore[bedrock]'") from error
    try:
        session = boto3.Session(region_name=region)
        if session.get_credentials() is None:
            raise UsageError(
                "no AWS credentials: boto3 found none in the environment, in ~/.aws, or from this "
                "machine's role; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if session.region_name is None:
            raise UsageError("no AWS region: give --region, or set AWS_REGION")
        once = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            read_timeout=_TIMEOUT_S,
            connect_timeout=10,
        )
        return session.client("bedrock-runtime", endpoint_url=endpoint_url, config=once)
    except BotoCoreError as error:
        raise UsageError(f"AWS is not set up: {error}") from error


def _tokens(told: object) -> int:
    """A count that can be paid for: one of 0 or less would make calls free, and fill a budget."""
    if type(told) is not int or told < 1:
        raise ValueError(f"inputTextTokenCount is {told!r}")
    return told


def ask(
    client: Any,
    model: str,
    request: Mapping[str, Any],
    budget: Budget,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Call once, again only after a refusal that costs nothing.

    Raises
    ------
    UsageError
        The credentials or the region do not do; named by Bedrock's code alone.
    LostCallError
        The connection broke, or the answer has no vector: it may have been billed.
    HarnessError
        Bedrock refused the request, or was busy each time.
    BudgetSpentError
    """
    from botocore.exceptions import BotoCoreError, ClientError

    text = str(request["inputText"])
    code = ""
    for attempt in range(_TRIES):
        budget.require(text)
        try:
            answer = client.invoke_model(modelId=model, body=json.dumps(dict(request)))
            body = answer["body"].read()
            fields = json.loads(body)
            check_answer(body, len(fields["embedding"]))
            return Answer(body, _tokens(fields["inputTextTokenCount"]))
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code in _NO_ACCESS:
                raise UsageError(f"Bedrock said {code}: {_NO_ACCESS[code]}") from None
            if code not in _BUSY:
                # its message may repeat the request
                raise HarnessError(f"Bedrock refused a request of model {model}: {code}") from None
        except (BotoCoreError, ValueError, KeyError, TypeError) as error:
            raise LostCallError(type(error).__name__) from error
        sleep(min(_WAIT_S_MAX, _WAIT_S * 2**attempt))
    raise HarnessError(f"Bedrock said {code} {_TRIES} times: try later; what came is kept")
