#include "server/tracing/spans.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/id.h"
#include "base/text.h"
#include "server/service/call_kind.h"

namespace fmaserver::tracing {
namespace {

using service::CallReport;
using service::CallTrace;

constexpr char kErrorType[] = "error.type";
constexpr char kTokens[] = "fma.tokens";
constexpr uint32_t kSampled = 1;

constexpr std::string_view kFinishReasons[] = {"stop", "stop", "length", "time_limit"};
static_assert(static_cast<size_t>(engine::FinishReason::kTimeLimit) + 1 ==
              std::size(kFinishReasons));

/// What the conventions call it; empty: they have no name for it.
std::string_view OperationOf(std::string_view method) {
  static constexpr std::pair<const service::CallKind*, std::string_view> kOperations[] = {
      {&service::kGenerate, "text_completion"},
      {&service::kChat, "chat"},
      {&service::kOpenAiCompletion, "text_completion"},
      {&service::kOpenAiChat, "chat"},
      {&service::kOpenAiResponse, "chat"},
      {&service::kModelInfer, "text_completion"},
      {&service::kModelStreamInfer, "text_completion"},
      {&service::kGenerateStream, "text_completion"},
      {&service::kEmbed, "embeddings"},
      {&service::kOpenAiEmbedding, "embeddings"},
  };
  const auto* found = std::ranges::find_if(
      kOperations, [&](const auto& operation) { return operation.first->method == method; });
  return found == std::end(kOperations) ? std::string_view() : found->second;
}

/// Whether the server is to blame, as the conventions for servers of gRPC have it.
bool IsServersFault(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

void AddOutcome(otlp::Span& span, absl::StatusCode code, std::string_view message) {
  if (code == absl::StatusCode::kOk) return;
  AddText(span, kErrorType, absl::StatusCodeToString(code));
  if (!IsServersFault(code)) return;
  span.mutable_status()->set_code(otlp::Status::STATUS_CODE_ERROR);
  span.mutable_status()->set_message(std::string(message));
}

template <class Texts>
void AddTexts(otlp::Span& span, std::string_view key, const Texts& texts) {
  otlp::ArrayValue& values = *AddAttribute(span, key).mutable_array_value();
  for (const auto& text : texts) values.add_values()->set_string_value(std::string(text));
}

void AddRequest(otlp::Span& span, const service::TracedRequest& request) {
  const auto number = [&span](std::string_view key, double value) {
    AddAttribute(span, key).set_double_value(value);
  };
  AddAttribute(span, "gen_ai.request.max_tokens").set_int_value(request.max_tokens);
  number("gen_ai.request.temperature", request.temperature);
  number("gen_ai.request.top_p", request.top_p);
  if (request.top_k > 0) number("gen_ai.request.top_k", request.top_k);
  if (request.frequency_penalty != 0) {
    number("gen_ai.request.frequency_penalty", request.frequency_penalty);
  }
  if (request.presence_penalty != 0) {
    number("gen_ai.request.presence_penalty", request.presence_penalty);
  }
  if (request.n != 1) AddAttribute(span, "gen_ai.request.choice.count").set_int_value(request.n);
  if (request.seed.has_value()) {
    AddAttribute(span, "gen_ai.request.seed").set_int_value(static_cast<int64_t>(*request.seed));
  }
  if (!request.stop.empty()) AddTexts(span, "gen_ai.request.stop_sequences", request.stop);
}

void AddUsage(otlp::Span& span, const CallReport& report) {
  const engine::Usage& usage = report.usage;
  if (usage.prompt_tokens > 0) {
    AddAttribute(span, "gen_ai.usage.input_tokens").set_int_value(usage.prompt_tokens);
    AddAttribute(span, "gen_ai.usage.cache_read.input_tokens").set_int_value(usage.cached_tokens);
  }
  if (report.trace->request.has_value()) {
    AddAttribute(span, "gen_ai.usage.output_tokens").set_int_value(usage.generated_tokens);
  }
  std::vector<std::string_view> reasons;
  for (const engine::FinishReason reason : report.trace->finish_reasons) {
    reasons.push_back(kFinishReasons[static_cast<size_t>(reason)]);
  }
  if (!reasons.empty()) AddTexts(span, "gen_ai.response.finish_reasons", reasons);
}

void AddDoor(otlp::Span& span, const DoorAddress& door) {
  AddTextIfAny(span, "server.address", door.host);
  if (door.port > 0) AddAttribute(span, "server.port").set_int_value(door.port);
}

/// Makes the spans of one call.
class CallSpans {
 public:
  CallSpans(const CallReport& report, const Calendar& calendar)
      : report_(report), trace_(*report.trace), calendar_(calendar) {}

  void AddCall(const DoorAddresses& doors) {
    const Clock::time_point end = After(trace_.start, report_.seconds);
    const std::string_view operation = OperationOf(report_.method);
    otlp::Span& span = Add(operation.empty() ? report_.method : Name(operation), trace_.start, end);
    span.set_span_id(trace_.span_id);
    span.set_parent_span_id(trace_.parent_span_id);
    span.set_kind(otlp::Span::SPAN_KIND_SERVER);
    AddText(span, "fma.method", report_.method);
    AddText(span, "fma.request.id", report_.request_id);
    AddTextIfAny(span, "fma.tenant", report_.tenant);
    if (!operation.empty()) {
      AddText(span, "gen_ai.operation.name", operation);
      AddText(span, "gen_ai.provider.name", "fma");
    }
    AddTextIfAny(span, "gen_ai.request.model", report_.model);
    AddTextIfAny(span, "gen_ai.conversation.id", trace_.session);
    if (trace_.request.has_value()) AddRequest(span, *trace_.request);
    AddUsage(span, report_);
    AddDoor(span, trace_.protocol == service::Protocol::kHttp ? doors.http : doors.grpc);
    AddOutcome(span, report_.status.code(), FromAbsl(report_.status.message()));
  }

  /// What the engine did.
  void AddStages() {
    const engine::Usage& usage = report_.usage;
    if (usage.arrival == Clock::time_point()) return;
    const Clock::time_point started = After(usage.arrival, usage.queue_seconds);
    const Clock::time_point first_token = After(started, usage.prefill_seconds);
    Add("queue", usage.arrival, started);
    if (usage.prefill_seconds > 0) {
      AddAttribute(Add("prefill", started, first_token), kTokens)
          .set_int_value(usage.prompt_tokens - usage.cached_tokens);
    }
    if (usage.decode_seconds > 0) {
      AddAttribute(Add("decode", first_token, After(first_token, usage.decode_seconds)), kTokens)
          .set_int_value(usage.generated_tokens);
    }
  }

  void AddParts() {
    for (const service::TracedPart& part : trace_.parts) {
      otlp::Span& span = Add(part.name, part.begin, part.end);
      AddText(span, "fma.session.place", part.place);
      AddOutcome(span, part.code, "");
    }
  }

  std::vector<otlp::Span> Take() {
    std::ranges::stable_sort(spans_.begin() + 1, spans_.end(), {},
                             [](const otlp::Span& span) { return span.start_time_unix_nano(); });
    return std::move(spans_);
  }

 private:
  static Clock::time_point After(Clock::time_point time, double seconds) {
    return time +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }
  static std::string_view FromAbsl(absl::string_view text) { return {text.data(), text.size()}; }

  std::string Name(std::string_view operation) const {
    return report_.model.empty() ? std::string(operation) : Concat(operation, " ", report_.model);
  }

  /// A part of the call.
  otlp::Span& Add(std::string name, Clock::time_point begin, Clock::time_point end) {
    constexpr size_t kSpanBytes = 8;
    otlp::Span& span = spans_.emplace_back();
    span.set_trace_id(trace_.trace_id);
    span.set_span_id(RandomBytes(kSpanBytes));
    span.set_parent_span_id(trace_.span_id);
    span.set_trace_state(trace_.tracestate);
    span.set_flags(kSampled);
    span.set_name(std::move(name));
    span.set_kind(otlp::Span::SPAN_KIND_INTERNAL);
    span.set_start_time_unix_nano(calendar_.At(begin));
    span.set_end_time_unix_nano(calendar_.At(end));
    return span;
  }

  const CallReport& report_;
  const CallTrace& trace_;
  const Calendar& calendar_;
  std::vector<otlp::Span> spans_;
};

}  // namespace

uint64_t Calendar::At(Clock::time_point time) const {
  const auto at = calendar_ + std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                  time - monotonic_);
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count());
}

std::vector<otlp::Span> SpansOf(const CallReport& report, const DoorAddresses& doors,
                                const Calendar& calendar) {
  CallSpans spans(report, calendar);
  spans.AddCall(doors);
  spans.AddStages();
  spans.AddParts();
  return spans.Take();
}

}  // namespace fmaserver::tracing
