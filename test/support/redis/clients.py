# redis-py: clients.py PORT. Prints what it saw.
import json
import sys

import redis

client = redis.Redis(port=int(sys.argv[1]), db=6, decode_responses=True)
seen = [client.set("greeting", "hällo", ex=100), client.get("greeting")]
seen.append(client.pipeline(transaction=False).incr("n").incrby("n", 41).get("n").execute())
seen += [client.hset("h", mapping={"a": "1", "b": "ä"}), client.hgetall("h")]
seen += [client.zadd("z", {"x": 1, "y": 2.5}), client.zrange("z", 0, -1, withscores=True)]
seen.append(client.pipeline().rpush("l", "a", "b").lrange("l", 0, -1).execute())
seen.append(sorted(client.sinter("none", "none")))
with client.pipeline() as pipe:
    pipe.watch("n")
    client.set("n", "7")
    pipe.multi()
    pipe.set("n", "8")
    try:
        seen.append(pipe.execute())
    except redis.WatchError:
        seen.append("changed")


def add(pipe):
    value = int(pipe.get("n"))
    pipe.multi()
    pipe.set("n", value + 1)


seen += [client.transaction(add, "n"), client.get("n")]
try:
    client.incr("greeting")
except redis.ResponseError as error:
    seen.append(str(error))
seen.append(sorted(client.scan_iter(match="?", count=1)))
raw = redis.Redis(port=int(sys.argv[1]), db=6)
raw.set("bytes", bytes([0, 255]))
seen.append(list(raw.get("bytes")))
print(json.dumps(seen))
