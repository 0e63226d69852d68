#include "server/log/call_log.h"

#include <spdlog/spdlog.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"

namespace fmaserver::log {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kMisses[] = {"", "off", "skipped", "session", "short", "unseen", "not_kept"};
static_assert(static_cast<size_t>(engine::CacheMiss::kNotKept) + 1 == std::size(kMisses));

Json Fields(const service::CallReport& report) {
  Json fields = {
      {"request", report.request_id}, {"method", report.method},
      {"model", report.model},        {"tenant", report.tenant},
      {"peer", report.peer},          {"code", absl::StatusCodeToString(report.status.code())},
      {"seconds", report.seconds}};
  if (!report.status.ok()) fields["error"] = std::string(report.status.message());
  const engine::Usage& usage = report.usage;
  if (usage.prompt_tokens > 0) {
    fields["prompt_tokens"] = usage.prompt_tokens;
    fields["cached_tokens"] = usage.cached_tokens;
    if (usage.cache_miss != engine::CacheMiss::kNone) {
      fields["cache_miss"] = kMisses[static_cast<size_t>(usage.cache_miss)];
    }
    fields["generated_tokens"] = usage.generated_tokens;
    fields["queue_seconds"] = usage.queue_seconds;
    fields["prefill_seconds"] = usage.prefill_seconds;
    fields["decode_seconds"] = usage.decode_seconds;
  }
  if (!report.traceparent.empty()) fields["traceparent"] = report.traceparent;
  if (report.trace != nullptr) {
    fields["trace_id"] = absl::BytesToHexString(report.trace->trace_id);
    fields["span_id"] = absl::BytesToHexString(report.trace->span_id);
  }
  if (!report.prompt.empty()) fields["prompt"] = report.prompt;
  return fields;
}

std::string Dump(const Json& value) {
  // Quotes and escapes what a client sent, so that a line stays one line.
  return value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace

std::string CallLog::Line(const service::CallReport& report, LogFormat format) {
  const Json fields = Fields(report);
  if (format == LogFormat::kJson) {
    const std::string object = Dump(fields);
    return object.substr(1, object.size() - 2);
  }
  std::string line = "call";
  for (const auto& [key, value] : fields.items()) {
    // Free text is quoted; names, numbers and addresses are not.
    const bool quoted = !value.is_string() || key == "error" || key == "prompt";
    line += " " + key + "=" + (quoted ? Dump(value) : value.get<std::string>());
  }
  return line;
}

void CallLog::OnCall(const service::CallReport& report) {
  const auto logger = spdlog::get(kCallLogger);
  if (logger == nullptr || !logger->should_log(spdlog::level::info)) return;
  const std::string line = Line(report, format_);
  logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace fmaserver::log
