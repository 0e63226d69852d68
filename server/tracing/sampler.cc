#include "server/tracing/sampler.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "base/id.h"
#include "base/text.h"

namespace fmaserver::tracing {
namespace {

// Of a traceparent: version-trace-parent-flags, of 2, 32, 16 and 2 digits.
constexpr size_t kTraceBegin = 3;
constexpr size_t kTraceDigits = 32;
constexpr size_t kParentBegin = 36;
constexpr size_t kParentDigits = 16;
constexpr size_t kFlagsBegin = 53;

constexpr size_t kTraceBytes = 16;
constexpr size_t kSpanBytes = 8;

std::string Bytes(std::string_view digits) { return absl::HexStringToBytes(ToAbsl(digits)); }

bool IsSampled(std::string_view traceparent) {
  return (static_cast<unsigned char>(Bytes(traceparent.substr(kFlagsBegin, 2)).front()) & 1U) != 0;
}

/// Compares the id's last 63 bits, which are random, with the ratio of their range.
bool IsWithin(double ratio, const std::string& trace_id) {
  if (ratio >= 1) return true;
  uint64_t number = 0;
  for (const unsigned char byte : trace_id.substr(kTraceBytes - sizeof number)) {
    number = number << 8 | byte;
  }
  constexpr double kRange = 9223372036854775808.0;  // 2^63
  return static_cast<double>(number >> 1) < ratio * kRange;
}

}  // namespace

std::shared_ptr<service::CallTrace> Sample(const Sampling& sampling,
                                           const service::CallMetadata& metadata) {
  const std::string_view caller = metadata.traceparent;
  const bool follows = !caller.empty() && sampling.parent_based;
  if (follows && !IsSampled(caller)) return nullptr;
  // The ratio is decided before anything else is made of an id.
  std::string trace_id =
      caller.empty() ? RandomBytes(kTraceBytes) : Bytes(caller.substr(kTraceBegin, kTraceDigits));
  if (!follows && !IsWithin(sampling.ratio, trace_id)) return nullptr;
  auto trace = std::make_shared<service::CallTrace>();
  trace->trace_id = std::move(trace_id);
  trace->span_id = RandomBytes(kSpanBytes);
  if (!caller.empty()) trace->parent_span_id = Bytes(caller.substr(kParentBegin, kParentDigits));
  trace->tracestate = metadata.tracestate;
  trace->protocol = metadata.protocol;
  return trace;
}

}  // namespace fmaserver::tracing
