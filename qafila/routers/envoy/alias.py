"""The Lua that puts an arm's own model name where the user wrote the alias. Pure text."""

from __future__ import annotations

BODY_LIMIT = 1 << 20  # bytes; a longer body passes unchanged

# Only a top-level "model" whose value is the alias is replaced, byte for byte; a body that is no
# JSON object, longer than the limit or of unknown length passes as it came. The scan jumps from
# one quote or bracket to the next. Answers are not looked at, so that they stream.
_LUA = """
local alias, model, limit = '"@ALIAS@"', '"@MODEL@"', @LIMIT@

local function string_end(text, quote)
  local at = quote + 1
  while true do
    at = string.find(text, '["\\\\]', at)
    if at == nil then return nil end
    if string.byte(text, at) == 34 then return at end
    at = at + 2
  end
end

local function places(text)
  local found, depth, at, key = {}, 0, 1, nil
  if string.find(text, '^%s*{') == nil then return found end
  while true do
    at = string.find(text, '["%[%]{}]', at)
    if at == nil then return {} end
    local byte = string.byte(text, at)
    if byte == 34 then
      local last = string_end(text, at)
      if last == nil then return {} end
      if depth == 1 then
        if string.find(text, '^%s*:', last + 1) ~= nil then
          key = string.sub(text, at, last)
        else
          if key == '"model"' and string.sub(text, at, last) == alias then
            found[#found + 1] = at
          end
          key = nil
        end
      end
      at = last
    elseif byte == 123 or byte == 91 then
      depth, key = depth + 1, nil
    else
      depth, key = depth - 1, nil
      if depth == 0 then
        if string.find(text, '^%s*$', at + 1) == nil then return {} end
        return found
      end
    end
    at = at + 1
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local size = tonumber(headers:get('content-length') or '')
  local kind = headers:get('content-type') or ''
  if size == nil or size == 0 or size > limit then return end
  if string.find(string.lower(kind), 'json', 1, true) == nil then return end
  local body = handle:body()
  if body == nil then return end
  local text = body:getBytes(0, body:length())
  local found = places(text)
  if #found == 0 then return end
  for n = #found, 1, -1 do
    text = string.sub(text, 1, found[n] - 1) .. model .. string.sub(text, found[n] + #alias)
  end
  headers:replace('content-length', tostring(body:setBytes(text)))
end
"""


def model_script(alias: str, model: str) -> str:
    """Return the script for one arm; both names are plain model names (``envoy_arms.MODEL``)."""
    return (
        _LUA.replace("@ALIAS@", alias).replace("@MODEL@", model).replace("@LIMIT@", str(BODY_LIMIT))
    )
