/** Random commands whose replies do not depend on chance or time. */
import type { Random } from "../random";

const KEYS = ["k1", "k2", "k3", "k4", "k5"];
/** They are never hashes or lists: GET returns those as JSON. */
const TEXTS = ["t1", "t2", "t3"];
const WORDS = ["a", "b", "c", "1", "2", "10", "-3", "", "word", "€"];
const INTEGERS = ["0", "1", "-1", "2", "-2", "5", "100", "abc", "1.5", "9223372036854775807"];
/** What INCR can add to: JSON has no integers beyond 2^53. */
const STEPS = INTEGERS.slice(0, -1);
const SCORES = ["0", "1", "-1.5", "2", "3", "1e3", "+inf", "-inf", "(1", "x"];

/** What stands for a random argument: K a key, T one of a string, W a word, I an integer, J a
 * step, S a score. */
const SHAPES = `
  SET K W|SET K W NX|SET K W XX|SET T W GET|SET K J|SET K W EXAT 99999999999|SET K W KEEPTTL|GET T|GET T|SET T W|SET T J|INCR T|APPEND T W|INCRBY T J|DEL T|SETRANGE T 1 W|GETSET T W|GETSET T W|GETDEL T|APPEND K W|STRLEN K
  GETRANGE K I I|SETRANGE K 3 W|INCR K|DECR K|INCRBY K J|DECRBY K J|MGET T T T|MSET K W K J|MSETNX K W K W|SETNX K W|GETEX T PERSIST
  HSET K W W|HSET K W W W J|HGET K W|HMGET K W W|HDEL K W W|HLEN K|HEXISTS K W|HSETNX K W W|HSTRLEN K W|HINCRBY K W J
  ~HGETALL K|~HKEYS K|~HVALS K
  LPUSH K W W|RPUSH K W I|LPOP K|RPOP K|LPOP K I|RPOP K I|LLEN K|LRANGE K I I|LINDEX K I|LSET K I W|LREM K I W|LTRIM K I I
  LINSERT K BEFORE W W|LINSERT K AFTER W W|LPUSHX K W|RPUSHX K W|LPOS K W|LPOS K W COUNT 0|LMOVE K K LEFT RIGHT|RPOPLPUSH K K
  SADD K W W|SADD K I|SREM K W W|SCARD K|SISMEMBER K W|SMISMEMBER K W W|SMOVE K K W|SINTERCARD 2 K K
  ~SMEMBERS K|~SINTER K K|~SUNION K K|~SDIFF K K|SINTERSTORE K K K|SUNIONSTORE K K K|SDIFFSTORE K K K
  ZADD K I W|ZADD K 1 W 2 W|ZADD K NX 3 W|ZADD K XX CH 4 W|ZADD K GT 5 W|ZADD K LT CH 0 W|ZADD K INCR 2 W|ZREM K W W|ZCARD K|ZSCORE K W
  ZMSCORE K W W|ZCOUNT K S S|ZINCRBY K 2 W|ZRANK K W|ZREVRANK K W|ZRANGE K I I|ZRANGE K I I WITHSCORES|ZRANGE K I I REV
  ZRANGE K S S BYSCORE|ZRANGEBYSCORE K S S WITHSCORES|ZREVRANGEBYSCORE K S S|ZREVRANGE K I I|ZPOPMIN K|ZPOPMAX K|ZPOPMIN K I
  ZREMRANGEBYRANK K I I|ZREMRANGEBYSCORE K S S
  DEL K|DEL K K|UNLINK K|EXISTS K K|TYPE K|RENAME K K|RENAMENX K K|COPY K K|COPY K K REPLACE|TOUCH K K|DBSIZE|~KEYS *|PERSIST K
  EXPIRE K -1|EXPIREAT K 1|PEXPIREAT K 99999999999999|PEXPIRETIME K|EXPIRETIME K
  PING|ECHO W|MULTI|MULTI|EXEC|EXEC|EXEC|DISCARD|WATCH K|UNWATCH|NOPE K|GET|SET K|HSET K W|LPUSH K
`
  .split(/[|\n]/)
  .map((shape) => shape.trim())
  .filter((shape) => shape !== "");

export interface RandomCommand {
  readonly args: readonly string[];
  /** The order of its reply's elements does not matter. */
  readonly isUnordered: boolean;
}

export function randomCommand(random: Random): RandomCommand {
  const shape = random.pick(SHAPES);
  const args = shape
    .replace("~", "")
    .split(" ")
    .map((word, at) => (at === 0 ? word : argument(word, random)));
  return { args, isUnordered: shape.startsWith("~") };
}

function argument(word: string, random: Random): string {
  const choices = { K: KEYS, T: TEXTS, W: WORDS, I: INTEGERS, J: STEPS, S: SCORES }[word];
  return choices === undefined ? word : random.pick(choices);
}
