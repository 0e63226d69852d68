#include "server/service/call_metadata.h"

#include <algorithm>
#include <utility>

#include "base/id.h"

namespace fmaserver::service {
namespace {

bool IsLowerHex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

}  // namespace

CallMetadata Checked(CallMetadata metadata) {
  if (!IsTraceparent(metadata.traceparent)) metadata.traceparent.clear();
  // The one means nothing without the other.
  if (metadata.traceparent.empty() || !IsTracestate(metadata.tracestate)) {
    metadata.tracestate.clear();
  }
  if (!IsRequestId(metadata.request_id)) metadata.request_id = RandomId();
  return metadata;
}

bool IsTraceparent(std::string_view text) {
  // version-trace-parent-flags of 2, 32, 16 and 2 digits.
  constexpr size_t kLength = 55;
  if (text.size() < kLength || text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  const std::string_view version = text.substr(0, 2);
  const std::string_view trace = text.substr(3, 32);
  const std::string_view parent = text.substr(36, 16);
  if (!IsLowerHex(version) || !IsLowerHex(trace) || !IsLowerHex(parent) ||
      !IsLowerHex(text.substr(53, 2)) || version == "ff" || IsZero(trace) || IsZero(parent)) {
    return false;
  }
  // Only later versions may add fields; a bound keeps the log's lines short.
  constexpr size_t kMaxLength = 256;
  if (text.size() == kLength) return true;
  return version != "00" && text[kLength] == '-' && text.size() <= kMaxLength &&
         std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f && c != '"'; });
}

bool IsTracestate(std::string_view text) {
  constexpr size_t kMaxLength = 512;
  return text.size() <= kMaxLength &&
         std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}

bool IsRequestId(std::string_view text) {
  constexpr size_t kMaxLength = 128;
  constexpr std::string_view kOther = "._:/+=-";
  return !text.empty() && text.size() <= kMaxLength && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kOther.find(c) != std::string_view::npos;
  });
}

}  // namespace fmaserver::service
