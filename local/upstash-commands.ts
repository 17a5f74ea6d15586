// Which commands Upstash takes over REST, and in which words it refuses the others.
import type { Arg } from "./resp.ts";

// Upstash's command reference, November 2026, less what its REST documentation excludes. JSON.*, search and newer
// commands are left to the Redis behind this endpoint, which knows them or does not.
const AVAILABLE = new Set(
  `APPEND BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS COMMAND COPY DBSIZE DECR DECRBY DEL DELEX DIGEST DUMP ECHO EVAL
  EVALSHA EVALSHA_RO EVAL_RO EXISTS EXPIRE EXPIREAT EXPIRETIME FCALL FCALL_RO FLUSHALL FLUSHDB FUNCTION GEOADD GEODIST
  GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE GET GETBIT
  GETDEL GETEX GETRANGE GETSET HDEL HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY
  HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX
  HSETNX HSTRLEN HTTL HVALS INCR INCRBY INCRBYFLOAT INFO KEYS LINDEX LINSERT LLEN LMOVE LMPOP LPOP LPOS LPUSH LPUSHX
  LRANGE LREM LSET LTRIM MEMORY MGET MSET MSETNX PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFMERGE PING
  PSETEX PTTL PUBLISH PUBSUB RANDOMKEY RENAME RENAMENX RESTORE RPOP RPOPLPUSH RPUSH RPUSHX SADD SCAN SCARD SCRIPT SDIFF
  SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE SINTER SINTERCARD SINTERSTORE SISMEMBER SMEMBERS SMISMEMBER SMOVE SPOP
  SRANDMEMBER SREM SSCAN STRLEN SUNION SUNIONSTORE TIME TOUCH TTL TYPE UNLINK XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL
  XDELEX XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XTRIM ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY
  ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE
  ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE
  ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE`.split(/\s+/),
);

// Known to Upstash over TCP, but nothing that a request without a connection of its own could use.
const NOT_OVER_REST = new Set(
  `AUTH BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT DISCARD EXEC HELLO MONITOR MULTI PSUBSCRIBE
  PUNSUBSCRIBE QUIT RESET SELECT SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH`.split(/\s+/),
);

/**
 * Whether Upstash would refuse this command before running it.
 *
 * @param name the command's name in capitals
 * @param args the whole command, name included
 * @returns the error text, or undefined when the command may go to Redis
 */
export function refusal(name: string, args: readonly Arg[]): string | undefined {
  if (NOT_OVER_REST.has(name)) return notAllowed(name);
  if (!AVAILABLE.has(name) && !name.startsWith("JSON.") && !name.startsWith("SEARCH.")) return notAvailable(name);
  // The docs exclude "blocking versions of XREAD and XREADGROUP"; in which words is not documented.
  if (name === "XREAD" && optionsBefore(args, "STREAMS").includes("BLOCK")) return notAllowed("XREAD BLOCK");
  if (name === "XREADGROUP") return readGroupRefusal(args);
  return undefined;
}

/** Upstash takes the options in the documented order only, where Redis takes any. */
function readGroupRefusal(args: readonly Arg[]): string | undefined {
  const options = optionsBefore(args, "STREAMS");
  // A consumer may well be called "block": only what stands after the names is an option.
  if (options.slice(4).includes("BLOCK")) return notAllowed("XREADGROUP BLOCK");
  let at = 1;
  if (options[at] === "GROUP") at += 3;
  if (at === 4 && options[at] === "COUNT") at += 2;
  if (at >= 4 && options[at] === "NOACK") at += 1;
  return at >= 4 && at === options.length && options.length < args.length ? undefined : "ERR syntax error";
}

function optionsBefore(args: readonly Arg[], end: string): string[] {
  const words = args.map((arg) => (typeof arg === "string" ? arg.toUpperCase() : ""));
  const from = words[1] === "GROUP" ? 4 : 1;
  const at = words.indexOf(end, from);
  return at === -1 ? words : words.slice(0, at);
}

function notAvailable(name: string): string {
  return `ERR Command is not available: '${name}'. See https://upstash.com/docs/redis/overall/rediscompatibility for details`;
}

function notAllowed(name: string): string {
  return `ERR Command "${name}" is not allowed in REST or it has a special context path`;
}
