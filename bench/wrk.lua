-- Asks for the paths of a file, one after another, over and over, and prints what came of it as one line of JSON. What stands behind a
-- tab is posted.
--   wrk -s wrk.lua http://127.0.0.1:8000 -- paths.txt 0
local requests, n = {}, 0

function init(args)
  for path in io.lines(args[1]) do
    local bare, body = path:match("^([^\t]+)\t(.*)$")
    requests[#requests + 1] = bare and wrk.format("POST", bare, {["Content-Type"] = "application/json"}, body)
      or wrk.format("GET", path)
  end
  n = tonumber(args[2] or 0)
end

function request()
  n = n % #requests + 1
  return requests[n]
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "bad": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status + e.connect + e.read + e.write + e.timeout))
end
