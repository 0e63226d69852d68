#include "server/tracing/sampler.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/escaping.h"

namespace fmaserver::tracing {
namespace {

constexpr char kTraceId[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kParent[] = "00f067aa0ba902b7";

service::CallMetadata From(const std::string& flags) {
  service::CallMetadata metadata;
  metadata.traceparent = std::string("00-") + kTraceId + "-" + kParent + "-" + flags;
  metadata.tracestate = "vendor=1";
  return metadata;
}

TEST(SamplerTest, ACallJoinsItsCallersTrace) {
  const auto trace = Sample({}, From("01"));
  ASSERT_NE(trace, nullptr);
  EXPECT_EQ(absl::BytesToHexString(trace->trace_id), kTraceId);
  EXPECT_EQ(absl::BytesToHexString(trace->parent_span_id), kParent);
  EXPECT_EQ(trace->tracestate, "vendor=1");
  EXPECT_EQ(trace->span_id.size(), 8U);
  EXPECT_NE(trace->span_id, Sample({}, From("01"))->span_id);
}

TEST(SamplerTest, TheCallerDecidesUnlessItsWordIsNotAsked) {
  EXPECT_EQ(Sample({.parent_based = true, .ratio = 1}, From("00")), nullptr);
  EXPECT_EQ(Sample({.parent_based = true, .ratio = 1}, From("02")), nullptr) << "another flag";
  EXPECT_NE(Sample({.parent_based = true, .ratio = 0}, From("01")), nullptr);
  EXPECT_NE(Sample({.parent_based = true, .ratio = 0}, From("ff")), nullptr);
  EXPECT_NE(Sample({.parent_based = false, .ratio = 1}, From("00")), nullptr);
  EXPECT_EQ(Sample({.parent_based = false, .ratio = 0}, From("01")), nullptr);
}

TEST(SamplerTest, WithoutACallerATraceBegins) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const auto trace = Sample({}, {});
    ASSERT_NE(trace, nullptr);
    EXPECT_EQ(trace->trace_id.size(), 16U);
    EXPECT_EQ(trace->parent_span_id, "");
    ids.insert(trace->trace_id);
  }
  EXPECT_EQ(ids.size(), 100U);
  EXPECT_EQ(Sample({.parent_based = true, .ratio = 0}, {}), nullptr);
}

TEST(SamplerTest, TheRatioIsKeptAndTheIdDecides) {
  int traced = 0;
  constexpr int kCalls = 4000;
  for (int i = 0; i < kCalls; ++i) traced += Sample({.ratio = 0.25}, {}) != nullptr;
  EXPECT_NEAR(traced, 0.25 * kCalls, 200);
  // The same id on servers with a higher and a lower ratio: its last 63 bits are 0.27999 of all.
  const Sampling higher{.parent_based = false, .ratio = 0.29};
  const Sampling lower{.parent_based = false, .ratio = 0.27};
  for (int i = 0; i < 10; ++i) {
    EXPECT_NE(
        Sample(higher, {.traceparent = "00-4bf92f3577b34da647ad7f29d0e0e473-00f067aa0ba902b7-00"}),
        nullptr);
    EXPECT_EQ(
        Sample(lower, {.traceparent = "00-4bf92f3577b34da647ad7f29d0e0e473-00f067aa0ba902b7-00"}),
        nullptr);
  }
}

}  // namespace
}  // namespace fmaserver::tracing
