-- Sends copies of requests to a tap (reamp sidecar --tap). Runs in HAProxy 2.6 and later; docs/tap.md says how.
--
--     http-request lua.reamp_tap 127.0.0.1:8080
--
-- A request is only noted down here, and goes on to the app at once; its copy is sent by a task of its own, for which
-- nobody waits. If the tap hangs, at most MOST copies are on their way at a time, and all others are left out.

local MOST = 64
local TIMEOUT = 1 -- seconds that the tap may be silent

-- What belongs to a connection or is written anew. (The tap goes by x-reamp-body-size where a body did not fit.)
local OWN = {
    ["connection"] = true, ["keep-alive"] = true, ["te"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
    ["content-length"] = true, ["expect"] = true, ["x-reamp-body-size"] = true,
}

local sending = 0

local function send(tap, copy)
    local socket = core.tcp()
    socket:settimeout(TIMEOUT)
    if socket:connect(tap) and socket:send(copy) then
        socket:receive("*l")
    end
    socket:close()
end

core.register_action("reamp_tap", { "http-req" }, function(txn, tap)
    if sending >= MOST then
        return
    end
    local lines = { txn.sf:method() .. " " .. txn.sf:pathq() .. " HTTP/1.1" }
    local forwarded = false
    for name, values in pairs(txn.http:req_get_headers()) do
        if not OWN[name] then
            for _, value in pairs(values) do
                lines[#lines + 1] = name .. ": " .. value
            end
            forwarded = forwarded or name == "x-forwarded-for"
        end
    end
    if not forwarded then
        lines[#lines + 1] = "x-forwarded-for: " .. txn.sf:src()
    end
    local body = txn.sf:req_body()
    local size = tonumber(txn.sf:req_body_size()) or 0
    if #body > 0 then
        lines[#lines + 1] = "content-length: " .. #body
    end
    if size > #body then
        lines[#lines + 1] = "x-reamp-body-size: " .. size
    end
    lines[#lines + 1] = "connection: close\r\n\r\n"
    local copy = table.concat(lines, "\r\n") .. body

    sending = sending + 1
    core.register_task(function()
        pcall(send, tap, copy)
        sending = sending - 1
    end)
end, 1)
