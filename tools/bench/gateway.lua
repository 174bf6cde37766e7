-- The load of tools/bench/gateway.py for wrk: makes with unique ids on 1,000 accounts; prints one line of JSON.
local threads, thread, sent = 0, 0, 0
local run = os.getenv("BENCH_RUN")
local headers = { ["content-type"] = "application/json" }

function setup(t)
  t:set("thread", threads)
  threads = threads + 1
end

function request()
  sent = sent + 1
  local path = "/payments/" .. run .. "-" .. thread .. "-" .. sent .. "/makePayment"
  local body = '{"accountId":"acct-' .. sent % 1000 .. '","amount":1}'
  return wrk.format("POST", path, headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"payments":%d,"seconds":%.3f,"p50_ms":%.2f,"p99_ms":%.2f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
