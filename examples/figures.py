"""Statistics, by Python's own library. A line of input is a request of JSON-RPC 2.0, a line of output its answer."""
import json
import statistics
import sys


def describe(numbers):
    """The service of this name."""
    if not isinstance(numbers, list) or not all(type(each) in (int, float) for each in numbers):
        raise ValueError("send a list of numbers")
    return {"mean": statistics.fmean(numbers), "median": statistics.median(numbers)}


def message(text, client):
    """A message of a raw client: the whole line."""
    return json.dumps(describe([float(word) for word in text.split()[1:]]))


METHODS = {"describe": describe, "message": message}

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue  # A notification, such as $/cancelRequest.
    try:
        answer = {"result": METHODS[request["method"]](**request["params"])}
    except Exception as error:
        answer = {"error": {"code": -32000, "message": str(error)}}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}), flush=True)
