#include "server/tracing/spans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/service/call_kind.h"

namespace fmaserver::tracing {
namespace {

using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

const DoorAddresses kDoors{.grpc = {.host = "here", .port = 1},
                           .http = {.host = "there", .port = 2}};

std::string Shown(const otlp::AnyValue& value) {
  switch (value.value_case()) {
    case otlp::AnyValue::kStringValue:
      return value.string_value();
    case otlp::AnyValue::kIntValue:
      return absl::StrCat(value.int_value());
    case otlp::AnyValue::kDoubleValue:
      return absl::StrCat(value.double_value());
    case otlp::AnyValue::kArrayValue: {
      std::string all;
      for (const auto& one : value.array_value().values()) absl::StrAppend(&all, Shown(one), ";");
      return all;
    }
    default:
      return "?";
  }
}

std::map<std::string, std::string> AttributesOf(const otlp::Span& span) {
  std::map<std::string, std::string> attributes;
  for (const auto& attribute : span.attributes()) {
    EXPECT_TRUE(attributes.emplace(attribute.key(), Shown(attribute.value())).second)
        << attribute.key() << " comes twice";
  }
  return attributes;
}

std::vector<std::string> NamesOf(const std::vector<otlp::Span>& spans) {
  std::vector<std::string> names;
  for (const otlp::Span& span : spans) names.push_back(span.name());
  return names;
}

/// A turn of a session: 10 ms restoring, 20 queueing, 30 reading, 40 generating, 50 saving.
service::CallReport Turn() {
  service::CallReport report;
  report.trace = std::make_shared<service::CallTrace>();
  service::CallTrace& trace = *report.trace;
  trace.trace_id = std::string(16, 't');
  trace.span_id = "the span";
  trace.parent_span_id = "a caller";
  trace.tracestate = "vendor=1";
  trace.start = Clock::now();
  trace.session = "story";
  const auto at = [&trace](int ms) { return trace.start + milliseconds(ms); };
  trace.parts = {{service::kRestorePart, at(0), at(10), absl::StatusCode::kOk, service::kInStore},
                 {service::kSavePart, at(100), at(150), absl::StatusCode::kOk, service::kInMemory}};
  trace.request = service::TracedRequest{.max_tokens = 9, .temperature = 0.5F, .top_p = 1};
  trace.finish_reasons = {engine::FinishReason::kLength};
  report.request_id = "r-1";
  report.method = service::kChat.method;
  report.model = "books";
  report.status = absl::OkStatus();
  report.usage.arrival = at(10);
  report.usage.queue_seconds = 0.02;
  report.usage.prefill_seconds = 0.03;
  report.usage.decode_seconds = 0.04;
  report.usage.prompt_tokens = 7;
  report.usage.cached_tokens = 2;
  report.usage.generated_tokens = 9;
  report.seconds = 0.15;
  return report;
}

TEST(SpansTest, ACallIsASpanWithItsPartsInside) {
  const service::CallReport report = Turn();
  const std::vector<otlp::Span> spans = SpansOf(report, kDoors, Calendar());
  EXPECT_THAT(NamesOf(spans),
              ElementsAre("chat books", "restore", "queue", "prefill", "decode", "save"));
  const otlp::Span& call = spans.front();
  EXPECT_EQ(call.span_id(), "the span");
  EXPECT_EQ(call.parent_span_id(), "a caller");
  EXPECT_EQ(call.kind(), otlp::Span::SPAN_KIND_SERVER);
  EXPECT_EQ(call.end_time_unix_nano() - call.start_time_unix_nano(), 150'000'000U);
  uint64_t last = call.start_time_unix_nano();
  std::map<std::string, int> ids;
  for (const otlp::Span& span : spans) {
    EXPECT_EQ(span.trace_id(), std::string(16, 't'));
    EXPECT_EQ(span.trace_state(), "vendor=1");
    EXPECT_EQ(span.flags(), 1U);
    EXPECT_EQ(span.span_id().size(), 8U);
    EXPECT_EQ(++ids[span.span_id()], 1);
    EXPECT_FALSE(span.has_status());
    if (&span == &call) continue;
    EXPECT_EQ(span.parent_span_id(), "the span");
    EXPECT_EQ(span.kind(), otlp::Span::SPAN_KIND_INTERNAL);
    EXPECT_EQ(span.start_time_unix_nano(), last) << span.name();
    last = span.end_time_unix_nano();
  }
  EXPECT_EQ(last, call.end_time_unix_nano());
}

TEST(SpansTest, TimesAreThoseOfTheCalendar) {
  const service::CallReport report = Turn();
  const std::vector<otlp::Span> spans = SpansOf(report, kDoors, Calendar());
  const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  const auto start = static_cast<int64_t>(spans.front().start_time_unix_nano());
  EXPECT_LE(start, now.count());
  EXPECT_GT(start, now.count() - std::chrono::nanoseconds(std::chrono::minutes(10)).count());
}

TEST(SpansTest, AttributesHaveTheirNamesInTheConventions) {
  service::CallReport report = Turn();
  const auto spans = SpansOf(report, kDoors, Calendar());
  const auto attributes = AttributesOf(spans.front());
  const std::map<std::string, std::string> expected = {
      {"fma.method", "Chat"},
      {"fma.request.id", "r-1"},
      {"gen_ai.operation.name", "chat"},
      {"gen_ai.provider.name", "fma"},
      {"gen_ai.request.model", "books"},
      {"gen_ai.conversation.id", "story"},
      {"gen_ai.request.max_tokens", "9"},
      {"gen_ai.request.temperature", "0.5"},
      {"gen_ai.request.top_p", "1"},
      {"gen_ai.usage.input_tokens", "7"},
      {"gen_ai.usage.cache_read.input_tokens", "2"},
      {"gen_ai.usage.output_tokens", "9"},
      {"gen_ai.response.finish_reasons", "length;"},
      {"server.address", "here"},
      {"server.port", "1"}};
  EXPECT_EQ(attributes, expected);
  EXPECT_THAT(AttributesOf(spans[1]), ElementsAre(Pair("fma.session.place", "store")));
  EXPECT_THAT(AttributesOf(spans[2]), ElementsAre());
  EXPECT_THAT(AttributesOf(spans[3]), ElementsAre(Pair("fma.tokens", "5")));
  EXPECT_THAT(AttributesOf(spans[4]), ElementsAre(Pair("fma.tokens", "9")));
  EXPECT_THAT(AttributesOf(spans[5]), ElementsAre(Pair("fma.session.place", "memory")));
  report.trace->protocol = service::Protocol::kHttp;
  EXPECT_THAT(AttributesOf(SpansOf(report, kDoors, Calendar()).front()),
              Contains(Pair("server.address", "there")));
}

TEST(SpansTest, WhatWasAskedForBesidesIsSaid) {
  service::CallReport report = Turn();
  *report.trace->request = {.n = 3,
                            .top_k = 40,
                            .frequency_penalty = 0.5F,
                            .presence_penalty = -0.5F,
                            .seed = 17,
                            .stop = {"a", "b"}};
  const auto attributes = AttributesOf(SpansOf(report, kDoors, Calendar()).front());
  EXPECT_THAT(attributes, Contains(Pair("gen_ai.request.choice.count", "3")));
  EXPECT_THAT(attributes, Contains(Pair("gen_ai.request.top_k", "40")));
  EXPECT_THAT(attributes, Contains(Pair("gen_ai.request.frequency_penalty", "0.5")));
  EXPECT_THAT(attributes, Contains(Pair("gen_ai.request.presence_penalty", "-0.5")));
  EXPECT_THAT(attributes, Contains(Pair("gen_ai.request.seed", "17")));
  EXPECT_THAT(attributes, Contains(Pair("gen_ai.request.stop_sequences", "a;b;")));
}

TEST(SpansTest, ACallThatFailsHasThePartsThatItCameTo) {
  service::CallReport report = Turn();
  report.trace->parts.clear();
  report.status = absl::CancelledError("gone");
  report.usage.prefill_seconds = report.usage.decode_seconds = 0;
  auto spans = SpansOf(report, kDoors, Calendar());
  EXPECT_THAT(NamesOf(spans), ElementsAre("chat books", "queue"));
  EXPECT_THAT(AttributesOf(spans.front()), Contains(Pair("error.type", "CANCELLED")));
  EXPECT_FALSE(spans.front().has_status()) << "the server is not to blame";
  report.status = absl::UnavailableError("the server shuts down");
  report.usage.arrival = {};
  spans = SpansOf(report, kDoors, Calendar());
  EXPECT_THAT(NamesOf(spans), ElementsAre("chat books"));
  EXPECT_EQ(spans.front().status().code(), otlp::Status::STATUS_CODE_ERROR);
  EXPECT_EQ(spans.front().status().message(), "the server shuts down");
}

TEST(SpansTest, CallsWithoutAnOperationAreCalledAfterTheirMethod) {
  service::CallReport report = Turn();
  report.method = service::kForkSession.method;
  report.trace->request.reset();
  report.model = "";
  const auto spans = SpansOf(report, kDoors, Calendar());
  EXPECT_EQ(spans.front().name(), "Sessions.Fork");
  EXPECT_THAT(AttributesOf(spans.front()), Not(Contains(Key("gen_ai.operation.name"))));
  EXPECT_THAT(AttributesOf(spans.front()), Not(Contains(Key("gen_ai.usage.output_tokens"))));
}

}  // namespace
}  // namespace fmaserver::tracing
